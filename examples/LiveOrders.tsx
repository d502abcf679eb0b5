"use client";

// <LiveOrders />, for Next.js or any other React application. The client is not in the npm registry; `make web`, then:
// npm install --install-links /path/to/orderwire/web/client
import { wsService } from "@orderwire/client";
import { useWebSocket } from "@orderwire/client/react";

// Once per application. NEXT_PUBLIC_WS_URL is that of the Orderwire server, such as wss://shop.example/api/ws; without it, the page's
// own server passes /api/ws on. With a login: getToken: () => fetch("/my/token").then((response) => response.text()).
wsService.configure({ url: process.env.NEXT_PUBLIC_WS_URL ?? "/api/ws", maxAttempts: Infinity });

export function LiveOrders() {
  const { isConnected, status, stats, latestOrder, events, sendPing } = useWebSocket();
  return (
    <section>
      <h2>{isConnected ? "🟢 Live" : "⚪ Offline"}</h2>
      {status.state === "waiting" && <button onClick={() => wsService.connect()}>Attempt {status.attempt} is coming: try now</button>}
      {status.state === "closed" && <p role="alert">{status.reason}</p>}
      {stats && (
        <p>
          {stats.totalOrders} orders, {stats.totalRevenue}, {stats.pendingOrders} pending
        </p>
      )}
      {latestOrder && (
        <p>
          The latest: {latestOrder.order_number ?? latestOrder.key}, {latestOrder.customer_name}, {latestOrder.total}
        </p>
      )}
      <ol>
        {events.map((event) => (
          <li key={event.id}>
            {event.order_number ?? event.key} {event.type === "order_status_update" ? `${event.previous_status} → ${event.status}` : event.type}
          </li>
        ))}
      </ol>
      <button onClick={() => void sendPing()}>Ping</button>
    </section>
  );
}
