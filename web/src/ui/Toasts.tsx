import type { NewOrder } from "@orderwire/client";
import { useEffect, useState } from "react";
import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import type { Toast } from "../state/toaster.ts";
import * as icon from "./icons.tsx";
import { useDashboard, useDashboardStore } from "./use-dashboard.ts";
import { useScreenLatency } from "./use-screen-latency.ts";

/** Minimum interval between announcements by a screen reader. */
const ANNOUNCE_INTERVAL_MS = 3_000;

/**
 * Toasts, in the line that the page keeps free for messages. Between them it shows the newest order, and how long that took from the
 * database to the screen.
 */
export function Toasts({ onOpen }: { onOpen: (key: string) => void }) {
  const t = useTranslate();
  const [toast] = useDashboard((snapshot) => snapshot.toasts);
  const newest = useDashboard((snapshot) => snapshot.events.find((event) => event.type === "new_order") ?? null);
  const latency = useScreenLatency(newest);
  const announced = useThrottledText(toast === undefined ? "" : titleOf(toast, t), ANNOUNCE_INTERVAL_MS);
  return (
    <section className="toasts" aria-label={t("toasts")}>
      <p role="status" className="visually-hidden">
        {announced}
      </p>
      {toast !== undefined ? <VisibleToast key={toast.key} toast={toast} onOpen={onOpen} /> : newest !== null && <NewestOrder order={newest} />}
      {latency !== null && (
        <p className="latency" title={t("latencyHint", { error: Math.max(1, Math.ceil(latency.errorMs)) })}>
          {t("latency", { ms: Math.max(1, Math.round(latency.ms)) })}
        </p>
      )}
    </section>
  );
}

function VisibleToast({ toast, onOpen }: { toast: Toast; onOpen: (key: string) => void }) {
  const t = useTranslate();
  const format = useFormat();
  const store = useDashboardStore();
  const { order, count } = toast;
  return (
    <div className="toast" data-count={count} onPointerMove={() => store.extendToasts()} onFocus={() => store.extendToasts()}>
      <button type="button" className="toast-open" onClick={() => onOpen(order.key)}>
        <span className="toast-title">
          <span aria-hidden="true">🛒 </span>
          {titleOf(toast, t)}
        </span>
        <span className="toast-text">{count === 1 ? format.summary(order) : t("latestOrder", { orderNumber: numberOf(order) })}</span>
      </button>
      <button type="button" className="toast-close" aria-label={t("dismiss")} onClick={() => store.dismissToast(toast.key)}>
        <icon.Close />
      </button>
    </div>
  );
}

function NewestOrder({ order }: { order: NewOrder }) {
  const t = useTranslate();
  const format = useFormat();
  return (
    <p className="newest-order">
      {t("newestOrder", { orderNumber: numberOf(order), time: format.time(order.at) })}
    </p>
  );
}

function titleOf({ order, count }: Toast, t: ReturnType<typeof useTranslate>): string {
  return count === 1 ? t("newOrder", { orderNumber: numberOf(order) }) : t("newOrders", { count });
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
