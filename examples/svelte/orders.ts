// A readable store for Svelte 4 and 5, also with server-side rendering:
//   import { orders } from "./orders";  and in the markup: {$orders.isConnected}, {$orders.stats?.totalOrders}, {$orders.latestOrder?.customer_name}
import { wsService } from "@orderwire/client";
import { createStore } from "@orderwire/client/store";
import { readable } from "svelte/store";

// Once per application. With a login: getToken: () => fetch("/my/token").then((response) => response.text()).
wsService.configure({ url: import.meta.env.VITE_WS_URL ?? "/api/ws", maxAttempts: Infinity });
const store = createStore();

/** All components that use it share one connection, which is closed when the last of them is gone. */
export const orders = readable(store.getServerSnapshot(), (set) => {
  // A server renders the first value, and does not connect.
  if (typeof window === "undefined") return undefined;
  const update = (): void => set(store.getSnapshot());
  const unsubscribe = store.subscribe(update);
  update();
  return unsubscribe;
});
