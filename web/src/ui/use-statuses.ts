import { useCallback, useMemo } from "react";
import { countByStatus, listStatuses } from "../state/order-summary.ts";
import { useDashboard } from "./use-dashboard.ts";
import { useOrderSummary } from "./use-order-summary.ts";

/** The counts do not depend on the time. */
const NO_TIME_KEY = () => 0;

/** All statuses in the order in which to show them, and the number of loaded orders of each. */
export function useStatuses(): { statuses: readonly string[]; counts: ReadonlyMap<string, number> } {
  const listed = useDashboard((snapshot) => snapshot.meta.statuses);
  const counts = useOrderSummary(useCallback(countByStatus, []), NO_TIME_KEY);
  return useMemo(() => ({ statuses: listStatuses(listed, counts), counts }), [listed, counts]);
}
