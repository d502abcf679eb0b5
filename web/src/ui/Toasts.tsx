import type { NewOrder } from "@orderwire/client";
import { useEffect, useState } from "react";
import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import type { Toast } from "../state/toaster.ts";
import * as icon from "./icons.tsx";
import { useDashboardStore, useDashboard } from "./use-dashboard.ts";

/** Minimum interval between announcements by a screen reader. */
const ANNOUNCE_INTERVAL_MS = 3_000;

export function Toasts({ onOpen }: { onOpen: (key: string) => void }) {
  const t = useTranslate();
  const format = useFormat();
  const store = useDashboardStore();
  const toasts = useDashboard((snapshot) => snapshot.toasts);
  const title = (toast: Toast) =>
    toast.count === 1 ? t("newOrder", { orderNumber: numberOf(toast.order) }) : t("newOrders", { count: toast.count });
  const newest = toasts.at(-1);
  const announced = useThrottledText(newest === undefined ? "" : title(newest), ANNOUNCE_INTERVAL_MS);
  return (
    <>
      <p role="status" className="visually-hidden">
        {announced}
      </p>
      <section
        className="toasts"
        aria-label={t("toasts")}
        onPointerMove={() => store.extendToasts()}
        onFocus={() => store.extendToasts()}
      >
        {toasts.map((toast) => (
          <div key={toast.key} className="toast" data-count={toast.count}>
            <button type="button" className="toast-open" onClick={() => onOpen(toast.order.key)}>
              <span className="toast-title">
                <span aria-hidden="true">🛒 </span>
                {title(toast)}
              </span>
              <span className="toast-text">
                {toast.count === 1 ? format.summary(toast.order) : t("latestOrder", { orderNumber: numberOf(toast.order) })}
              </span>
            </button>
            <button type="button" className="toast-close" aria-label={t("dismiss")} onClick={() => store.dismissToast(toast.key)}>
              <icon.Close />
            </button>
          </div>
        ))}
      </section>
    </>
  );
}

function numberOf(order: NewOrder): string {
  return order.order_number ?? order.key;
}

/** Returns the given text, changed at most once per interval, and eventually the last one. */
function useThrottledText(text: string, intervalMs: number): string {
  const [state, setState] = useState({ text, at: 0 });
  useEffect(() => {
    if (text === state.text) return;
    const timer = setTimeout(() => setState({ text, at: Date.now() }), Math.max(0, state.at + intervalMs - Date.now()));
    return () => clearTimeout(timer);
  }, [text, state, intervalMs]);
  return state.text;
}
