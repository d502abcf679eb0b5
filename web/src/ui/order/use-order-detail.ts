import { useEffect, useState, useSyncExternalStore } from "react";
import { OrderDetail, type OrderDetailSnapshot } from "../../state/order-detail.ts";
import { useDashboardStore } from "../use-dashboard.ts";

/** The component has to be mounted anew for another key. */
export function useOrderDetail(key: string): OrderDetailSnapshot {
  const store = useDashboardStore();
  const [detail] = useState(() => new OrderDetail(key, store.service, store.api, store.orders.get(key)));
  useEffect(() => detail.start(), [detail]);
  return useSyncExternalStore(detail.subscribe, detail.getSnapshot);
}
