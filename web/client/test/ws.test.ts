// @vitest-environment node
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { WebSocketService } from "../src/orderwire.js";
import { order } from "./fake-server.js";

let server: WebSocketServer;
let service: WebSocketService;

beforeEach(async () => {
  server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await new Promise((resolve) => server.once("listening", resolve));
  server.on("connection", (socket) => {
    socket.send('{"type":"analytics_update","total_orders":0,"total_revenue":"0","pending_orders":0}');
    socket.send(JSON.stringify(order(1)));
    socket.on("message", (data) => socket.send(JSON.stringify({ type: "error", code: "echo", message: String(data) })));
  });
  const { port } = server.address() as AddressInfo;
  service = new WebSocketService({ url: `ws://127.0.0.1:${port}/api/ws`, WebSocket, getToken: () => "secret", baseDelayMs: 1 });
});
afterEach(() => {
  service.disconnect();
  server.close();
});

it("connects with the WebSocket of the package ws: receives, sends, logs in, and resumes", async () => {
  const received: string[] = [];
  service.onMessage((message) => received.push(message.type === "error" ? message.message : message.type));
  const requested = new Promise<string[]>((resolve) => server.once("connection", (_, { headers }) => resolve([headers["sec-websocket-protocol"]!])));
  service.connect();
  await vi.waitFor(() => expect(received).toEqual(["analytics_update", "new_order"]));
  expect(await requested).toEqual(["orderwire,bearer.secret"]);
  expect(await service.send({ type: "ping" })).toBe(true);
  await vi.waitFor(() => expect(received.at(-1)).toBe('{"type":"ping"}'));
  const resumed = new Promise((resolve) => server.once("connection", (_, { url }) => resolve(url)));
  for (const socket of server.clients) socket.close(3001);
  expect(await resumed).toBe("/api/ws?last_event_id=epoch-701-1");
});

it("retries and gives up where no server is: an error of ws is not thrown", async () => {
  await new Promise((resolve) => server.close(resolve));
  service.connect();
  await vi.waitFor(() => expect(service.status).toMatchObject({ state: "closed", code: 1006, terminal: false }), 10_000);
});
