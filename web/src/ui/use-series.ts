import { useEffect, useRef, useState } from "react";
import type { SeriesResponse } from "../api.ts";
import type { Period } from "../periods.ts";
import { useConnectionStatus } from "./use-connection-status.ts";
import { useDashboard, useDashboardStore } from "./use-dashboard.ts";

const MIN_INTERVAL_MS = 10_000;
/** A column, and a day, begins without any order. */
const MAX_INTERVAL_MS = 60_000;
/** While the server counts the orders for the first time, there are no sums. */
const COUNTING_INTERVAL_MS = 2_000;

export interface LoadedSeries {
  /** The newest that could be loaded; null until there is one. */
  readonly series: SeriesResponse | null;
  /** Whether the last request failed. */
  readonly failed: boolean;
}

/** `/api/series`, requested anew after changes of the totals, but at most every ten seconds, and at least every minute. */
export function useSeries(period: Period): LoadedSeries {
  const { api } = useDashboardStore();
  const totals = useDashboard((snapshot) => snapshot.totals);
  const isConnected = useConnectionStatus().state === "online";
  const [state, setState] = useState<LoadedSeries>({ series: null, failed: false });
  const requestedAt = useRef(-Infinity);
  /** A change makes a request due. */
  const [due, setDue] = useState(0);

  useEffect(() => {
    const timer = setInterval(() => setDue((count) => count + 1), MAX_INTERVAL_MS);
    return () => clearInterval(timer);
  }, []);

  const wanted = useRef<string | null>(period);
  useEffect(() => {
    wanted.current = period;
    return () => {
      wanted.current = null;
    };
  }, [period]);

  useEffect(() => {
    const request = () => {
      requestedAt.current = Date.now();
      // A change meanwhile does not make the answer useless, but another period does.
      api.series(period).then(
        (series) => {
          if (wanted.current !== period) return;
          if (series.complete) return setState({ series, failed: false });
          requestedAt.current = -Infinity;
          setTimeout(() => setDue((count) => count + 1), COUNTING_INTERVAL_MS);
        },
        () => wanted.current === period && setState(({ series }) => ({ series, failed: true })),
      );
    };
    const timer = setTimeout(request, Math.max(0, requestedAt.current + MIN_INTERVAL_MS - Date.now()));
    return () => clearTimeout(timer);
  }, [api, period, totals, isConnected, due]);
  return state;
}
