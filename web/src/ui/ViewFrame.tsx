import { useEffect, useState, type ReactNode } from "react";
import { isPageKey } from "../keys.ts";
import { navigate, orderHref } from "../route.ts";
import { FeedFrame } from "./FeedFrame.tsx";
import { Header } from "./Header.tsx";
import { PanelBoundary } from "./PanelBoundary.tsx";
import { ShortcutsHelp } from "./ShortcutsHelp.tsx";
import { StatusNotices } from "./StatusNotices.tsx";
import { Toasts } from "./Toasts.tsx";

/** The same function for every render, so that rows need not be rendered again. */
export function openOrder(key: string): void {
  navigate(orderHref(key));
}

/** What every view has around it: the header, warnings, toasts, the results of the user's changes, and the help for the keys. */
export function ViewFrame({ children }: { children: ReactNode }) {
  const [helpOpen, setHelpOpen] = useState(false);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (isPageKey(event) && event.key === "?") setHelpOpen(true);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);

  return (
    <>
      <FeedFrame />
      <Header onHelp={() => setHelpOpen(true)} />
      {/* A line that is always free for them, and stays in view, so that they cover nothing and move nothing. */}
      <div className="messages">
        {/* Part of the first load: it has to say that the server does not answer. */}
        <StatusNotices />
        <PanelBoundary className="toasts">
          <Toasts onOpen={openOrder} />
        </PanelBoundary>
      </div>
      {children}
      {helpOpen && <ShortcutsHelp onClose={() => setHelpOpen(false)} />}
    </>
  );
}
