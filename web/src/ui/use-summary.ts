import { useEffect, useState } from "react";
import type { Order } from "../state/order-book.ts";
import { useLive } from "./use-live.ts";

const EVERY_MS = 500;

/**
 * What is worked out from all orders: twice a second at most, when they changed or `stamp` did.
 * `work` and `stamp` are to be the same functions as long as they mean the same.
 */
export function useSummary<T>(work: (orders: readonly Order[], now: number) => T, stamp: (now: number) => number): T {
  const live = useLive();
  const [summary, setSummary] = useState(() => work(live.book.all(), Date.now()));
  useEffect(() => {
    let done = "";
    const look = () => {
      const now = Date.now();
      const state = `${live.getView().version} ${stamp(now)}`;
      if (state === done || document.hidden) return;
      done = state;
      setSummary(work(live.book.all(), now));
    };
    look();
    const timer = setInterval(look, EVERY_MS);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [live, work, stamp]);
  return summary;
}
