// Node with ws and pg: the broadcast loop from the documentation of ws.
const net = require("node:net");
const { once } = require("node:events");
const { WebSocketServer, WebSocket } = require("ws");

const host = "127.0.0.1";
const wss = new WebSocketServer({ host, port: Number(process.env.PORT), backlog: 4096 });

function broadcast(text) {
  for (const client of wss.clients) {
    if (client.readyState === WebSocket.OPEN) client.send(text);
  }
}

async function main() {
  const handleLine = (line) => {
    const [frames, size] = line.split(" ").map(Number);
    const text = "@@0:0@@".padEnd(size, "x");
    for (let i = 0; i < frames; i++) broadcast(text);
  };
  const trigger = net.createServer((socket) => {
    socket.on("data", (data) => String(data).split("\n").filter(Boolean).forEach(handleLine));
    socket.on("error", () => {});
  });
  trigger.listen(Number(process.env.TRIGGER_PORT), host);
  await once(trigger, "listening");
  if (process.env.DATABASE_URL) {
    const { Client } = require("pg");
    const database = new Client({ connectionString: process.env.DATABASE_URL });
    await database.connect();
    database.on("notification", ({ payload }) => broadcast(payload));
    await database.query("listen orders");
  }
  console.log("ready");
}

main();
