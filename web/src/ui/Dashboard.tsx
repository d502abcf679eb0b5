import type { OrderStatus } from "@orderwire/client";
import { useEffect, useRef, useState } from "react";
import { useWords } from "../words.ts";
import { Events } from "./Events.tsx";
import { Header } from "./Header.tsx";
import { Help } from "./Help.tsx";
import { OrderDetails } from "./OrderDetails.tsx";
import { OrdersTable } from "./OrdersTable.tsx";
import { Statuses } from "./Statuses.tsx";
import { TimeChart } from "./TimeChart.tsx";
import { Toasts } from "./Toasts.tsx";
import { Totals } from "./Totals.tsx";
import { useView } from "./use-live.ts";

export interface Filter {
  status: OrderStatus | null;
  text: string;
}

export const NO_FILTER: Filter = { status: null, text: "" };

export function Dashboard() {
  const words = useWords();
  const everything = useView((view) => view.access) === "everything";
  const [filter, setFilter] = useState(NO_FILTER);
  const [opened, setOpened] = useState<number | null>(null);
  const [help, setHelp] = useState(false);
  const search = useRef<HTMLInputElement>(null);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog[open]")) return;
      if (event.key === "/") {
        event.preventDefault(); // else the slash is typed
        search.current?.focus();
      } else if (event.key === "?") setHelp(true);
      else if (event.key === "Escape") setFilter(NO_FILTER);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);

  return (
    <>
      <Header onHelp={() => setHelp(true)} />
      <main className={everything ? "board" : "board only-totals"}>
        <Totals />
        {everything ? (
          <>
            <TimeChart />
            <Statuses filter={filter} onFilter={setFilter} />
            <OrdersTable filter={filter} onFilter={setFilter} onOpen={setOpened} search={search} />
            <Events />
          </>
        ) : (
          <p className="panel notice">{words.onlyTotals}</p>
        )}
      </main>
      <Toasts onOpen={setOpened} />
      {opened !== null && <OrderDetails id={opened} onClose={() => setOpened(null)} />}
      {help && <Help onClose={() => setHelp(false)} />}
    </>
  );
}
