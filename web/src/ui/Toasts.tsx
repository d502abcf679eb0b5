import { useEffect, useState } from "react";
import { useFormat } from "../format.ts";
import type { Toast } from "../state/toaster.ts";
import { useWords } from "../words.ts";
import * as icon from "./icons.tsx";
import { useLive, useView } from "./use-live.ts";

/** How often a burst is told to those who listen instead of looking. */
const SAY_EVERY_MS = 3_000;

export function Toasts({ onOpen }: { onOpen: (id: number) => void }) {
  const words = useWords();
  const format = useFormat();
  const live = useLive();
  const toasts = useView((view) => view.toasts);
  const title = (toast: Toast) =>
    toast.count === 1 ? words.newOrder(toast.order.order_number) : words.newOrders(toast.count);
  const newest = toasts.at(-1);
  const said = useSlowly(newest === undefined ? "" : title(newest), SAY_EVERY_MS);
  return (
    <>
      <p role="status" className="only-heard">
        {said}
      </p>
      <section
        className="toasts"
        aria-label={words.toasts}
        onPointerMove={() => live.renewToasts()}
        onFocus={() => live.renewToasts()}
      >
        {toasts.map((toast) => (
          <div key={toast.key} className="toast" data-count={toast.count}>
            <button type="button" className="toast-open" onClick={() => onOpen(toast.order.order_id)}>
              <span className="toast-title">
                <span aria-hidden="true">🛒 </span>
                {title(toast)}
              </span>
              <span className="toast-text">
                {toast.count === 1
                  ? `${toast.order.customer_name} · ${format.money(toast.order.total)}`
                  : words.latest(toast.order.order_number)}
              </span>
            </button>
            <button type="button" className="toast-close" aria-label={words.dismiss} onClick={() => live.dismissToast(toast.key)}>
              <icon.Close />
            </button>
          </div>
        ))}
      </section>
    </>
  );
}

/** The text, but no more often than so; the last one always comes. */
function useSlowly(text: string, everyMs: number): string {
  const [state, setState] = useState({ text, at: 0 });
  useEffect(() => {
    if (text === state.text) return;
    const timer = setTimeout(() => setState({ text, at: Date.now() }), Math.max(0, state.at + everyMs - Date.now()));
    return () => clearTimeout(timer);
  }, [text, state, everyMs]);
  return state.text;
}
