// Live orders without a build step: the client comes from the Orderwire server itself.
const server = new URLSearchParams(location.search).get("server") ?? "http://127.0.0.1:8000";
const { WebSocketService, isOrderEvent } = await import(`${server}/client/orderwire.js`);

const show = (id, text) => (document.getElementById(id).textContent = text);
const service = new WebSocketService({ url: `${server}/api/ws`, maxAttempts: Infinity });

service.onStatus(({ state }) => show("status", state));
service.onMessage((frame) => {
  if (frame.type === "analytics_update") {
    show("orders", frame.total_orders);
    show("revenue", frame.total_revenue);
    show("pending", frame.pending_orders);
  }
  if (isOrderEvent(frame)) {
    const line = document.createElement("li");
    line.textContent = `${frame.order_number ?? frame.key}: ${frame.type} ${frame.status ?? ""}`;
    document.getElementById("events").prepend(line);
  }
});
service.connect();
