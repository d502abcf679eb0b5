import { useEffect, useState } from "react";
import type { Order } from "../state/order-list.ts";
import { useDashboardStore } from "./use-dashboard.ts";

const INTERVAL_MS = 500;

/**
 * A value computed from all orders, at most twice a second: when the orders or the result of `timeKey` have changed. Both functions must
 * be memoized; `compute` runs again when they change.
 */
export function useOrderSummary<T>(compute: (orders: readonly Order[], now: number) => T, timeKey: (now: number) => number): T {
  const store = useDashboardStore();
  const [summary, setSummary] = useState(() => compute(store.orders.all(), Date.now()));
  useEffect(() => {
    let computedFor = "";
    const update = () => {
      const now = Date.now();
      const key = `${store.getSnapshot().version} ${timeKey(now)}`;
      if (key === computedFor || document.hidden) return;
      computedFor = key;
      setSummary(compute(store.orders.all(), now));
    };
    update();
    const timer = setInterval(update, INTERVAL_MS);
    document.addEventListener("visibilitychange", update);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", update);
    };
  }, [store, compute, timeKey]);
  return summary;
}
