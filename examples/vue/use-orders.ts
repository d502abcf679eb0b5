// A composable for Vue 3, also with server-side rendering:
//   const orders = useOrders();  and in the template: {{ orders.isConnected }}, {{ orders.stats?.totalOrders }}, {{ orders.latestOrder?.customer_name }}
import { wsService } from "@orderwire/client";
import { createStore } from "@orderwire/client/store";
import { onMounted, onUnmounted, shallowReadonly, shallowRef } from "vue";

// Once per application. With a login: getToken: () => fetch("/my/token").then((response) => response.text()).
wsService.configure({ url: import.meta.env.VITE_WS_URL ?? "/api/ws", maxAttempts: Infinity });
const store = createStore();

/** All components that use it share one connection, which is closed when the last of them is gone. */
export function useOrders() {
  const snapshot = shallowRef(store.getServerSnapshot());
  const update = (): void => void (snapshot.value = store.getSnapshot());
  let unsubscribe: (() => void) | undefined;
  // A server, which renders but does not mount, does not connect.
  onMounted(() => {
    unsubscribe = store.subscribe(update);
    update();
  });
  onUnmounted(() => unsubscribe?.());
  return shallowReadonly(snapshot);
}
