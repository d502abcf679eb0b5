import { createContext, use, useSyncExternalStore } from "react";
import type { DashboardSnapshot, DashboardStore } from "../state/dashboard-store.ts";

export const DashboardContext = createContext<DashboardStore | null>(null);

export function useDashboardStore(): DashboardStore {
  const store = use(DashboardContext);
  if (store === null) throw new Error("no DashboardContext above this component");
  return store;
}

/** Re-renders the component only when the selected part of the snapshot changes. */
export function useDashboard<T>(selector: (snapshot: DashboardSnapshot) => T): T {
  const store = useDashboardStore();
  return useSyncExternalStore(store.subscribe, () => selector(store.getSnapshot()));
}
