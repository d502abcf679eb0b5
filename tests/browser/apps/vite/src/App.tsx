import { useWebSocket } from "@orderwire/client/react";
import { createStore } from "@orderwire/client/store";
import { useSyncExternalStore } from "react";

const store = createStore();

export default function App() {
  const { isConnected, latestOrder } = useWebSocket();
  const { stats } = useSyncExternalStore(store.subscribe, store.getSnapshot);
  return (
    <>
      <h2>{isConnected ? "🟢 Live" : "⚪ Offline"}</h2>
      <p>
        {stats && `${stats.totalOrders} orders`} {latestOrder?.customer_name}
      </p>
    </>
  );
}
