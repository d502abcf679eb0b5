import { useSyncExternalStore } from "react";
import { type WebSocketService, wsService } from "./orderwire.js";
import { createStore, type LiveSnapshot, type OrderStore } from "./store.js";

export type { LiveSnapshot, Stats } from "./store.js";

const stores = new WeakMap<WebSocketService, OrderStore>();

function storeOf(service: WebSocketService): OrderStore {
  let store = stores.get(service);
  if (store === undefined) stores.set(service, (store = createStore(service)));
  return store;
}

/** Subscribes a component to live orders. All components that use the same service share its connection. */
export function useWebSocket(service: WebSocketService = wsService): LiveSnapshot {
  const store = storeOf(service);
  return useSyncExternalStore(store.subscribe, store.getSnapshot, store.getServerSnapshot);
}
