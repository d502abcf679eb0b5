// The page for a server on which the dashboard is not built: no build step, and no more than that.

const byId = (id) => document.getElementById(id);
const totals = ["total_orders", "total_revenue", "pending_orders"];
const nameOf = (e) => e.order_number ?? e.key;
const list = (...parts) => parts.map((part) => part ?? "–").join(", ");
const words = {
  new_order: (e) => `new ${nameOf(e)}: ${list(e.customer_name, e.total)}`,
  order_status_update: (e) => `${nameOf(e)}: ${e.previous_status ?? "–"} → ${e.status ?? "–"}`,
  order_update: (e) => `${nameOf(e)} changed`,
  order_delete: (e) => `${nameOf(e)} deleted`,
};
const seen = new Set();
let last = "";
function connect() {
  const resume = last && "?last_event_id=" + encodeURIComponent(last);
  // The page is at <prefix>/admin/dashboard.
  const socket = new WebSocket(new URL("../api/ws" + resume, location.href).href.replace(/^http/, "ws"));
  socket.onopen = () => { byId("status").textContent = "online"; };
  socket.onclose = () => { byId("status").textContent = "offline"; setTimeout(connect, 500 + Math.random() * 2500); };
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.type === "ping") socket.send('{"type":"pong"}');
    if (frame.type === "analytics_update") for (const name of totals) byId(name).textContent = frame[name];
    if (frame.type === "resumed" && !frame.recovered) { byId("events").replaceChildren(); last = ""; }
    if (!(frame.type in words)) return;
    last = frame.id;
    if (seen.has(last)) return;
    seen.add(last);
    if (seen.size > 20000) seen.delete(seen.values().next().value);
    const line = document.createElement("li");
    line.textContent = new Date(frame.at).toLocaleTimeString() + " " + words[frame.type](frame);
    byId("events").prepend(line);
    if (byId("events").children.length > 100) byId("events").lastChild.remove();
  };
}
connect();
