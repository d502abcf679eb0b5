import { useSyncExternalStore } from "react";
import { type NewOrder, type OrderEvent, type Status, type WebSocketService, wsService } from "./orderwire.js";
import { OrderStore } from "./store.js";

export { throttled } from "./throttled.js";

export interface Stats {
  totalOrders: number;
  /** Exact: a decimal string. */
  totalRevenue: string;
  pendingOrders: number;
}

export interface Live {
  isConnected: boolean;
  status: Status;
  stats: Stats;
  latestOrder: NewOrder | null;
  /** The newest first, at most 100, without a hole: emptied when events were missed that cannot be replayed. */
  events: readonly OrderEvent[];
  /** Whether the ping went out. */
  sendPing: () => Promise<boolean>;
}

const stores = new WeakMap<WebSocketService, OrderStore>();

function storeOf(service: WebSocketService): OrderStore {
  let store = stores.get(service);
  if (store === undefined) stores.set(service, (store = new OrderStore(service)));
  return store;
}

/** What happens to the orders, live. All components that use the same service share its connection. */
export function useWebSocket(service: WebSocketService = wsService): Live {
  const store = storeOf(service);
  return useSyncExternalStore(store.subscribe, store.snapshot, store.serverSnapshot);
}
