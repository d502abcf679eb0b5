import { useMemo } from "react";
import { listStatuses } from "../state/order-summary.ts";
import { useDashboard } from "./use-dashboard.ts";

const NO_COUNTS: ReadonlyMap<string, number> = new Map();

/** All statuses in the order in which to show them, and the number of orders of each in the whole table; no counts until it is known. */
export function useStatuses(): { statuses: readonly string[]; counts: ReadonlyMap<string, number> | null } {
  const listed = useDashboard((snapshot) => snapshot.meta.statuses);
  const counts = useDashboard((snapshot) => snapshot.series)?.statuses ?? null;
  return useMemo(() => ({ statuses: listStatuses(listed, counts ?? NO_COUNTS), counts }), [listed, counts]);
}
