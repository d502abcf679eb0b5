import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { WebSocketService } from "../src/orderwire.js";
import { FakeServer, order, settled } from "./fake-server.js";

let server: FakeServer;
let service: WebSocketService;
let log: string[];

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] });
  vi.spyOn(Math, "random").mockReturnValue(1);
  server = new FakeServer();
  server.install();
  service = new WebSocketService({ url: "ws://shop.example/api/ws", conflateMs: 500 });
  log = [];
  service.onConnect(() => log.push("connect"));
  service.onDisconnect(({ code }) => log.push(`disconnect ${code}`));
  service.onGap(() => log.push("gap"));
  service.onMessage((message, count) => log.push("key" in message ? `${message.type} ${message.key} ×${count}` : message.type));
  service.connect();
  await waited(500);
  log = [];
});
afterEach(() => {
  service.disconnect();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function waited(ms: number): Promise<void> {
  await settled();
  vi.advanceTimersByTime(ms);
  await settled();
}

const changed = (n: number, sequence: number) => ({ ...order(n), type: "order_status_update", id: `epoch-800-${sequence}`, status: "ready", previous_status: "pending" });

it("delivers the changes of an order as one event, once per interval", async () => {
  server.publish(order(1));
  server.publish(order(2));
  server.last.send(changed(1, 100));
  await waited(499);
  expect(log).toEqual([]);
  await waited(1);
  expect(log).toEqual(["new_order 2 ×1", "new_order 1 ×2"]);
  await waited(5_000);
  expect(log).toHaveLength(2);
});

it("has the newest totals at once, and delivers them after the events that they contain", async () => {
  server.publish(order(1));
  server.last.send({ type: "analytics_update", total_orders: 1, total_revenue: "150.50", pending_orders: 1 });
  await settled();
  expect(service.totals?.total_orders).toBe(1);
  await waited(500);
  expect(log).toEqual(["new_order 1 ×1", "analytics_update"]);
});

it("delivers what waits before a lost connection, a gap and disconnect(), and nothing after it", async () => {
  server.publish(order(1));
  await settled();
  server.drop();
  await settled();
  expect(log).toEqual(["new_order 1 ×1", "disconnect 1006"]);
  await waited(3_000);
  await waited(500);
  log = [];
  server.last.send(changed(1, 101));
  server.last.send({ type: "resumed", recovered: false, replayed: 0 });
  await settled();
  expect(log).toEqual(["order_status_update 1 ×1", "resumed", "gap"]);
  server.publish(order(2));
  await settled();
  service.disconnect();
  expect(log.slice(3)).toEqual(["new_order 2 ×1", "disconnect 1000"]);
  await waited(5_000);
  expect(log).toHaveLength(5);
});

it("has the cursor of what was delivered, and resumes after what was received", async () => {
  server.publish(order(1));
  await waited(500);
  server.publish(order(2));
  await settled();
  expect(service.lastEventId).toBe(order(1).id);
  await waited(500);
  expect(service.lastEventId).toBe(order(2).id);
  server.publish(order(3));
  await settled();
  server.drop();
  await waited(3_000);
  expect(server.last.url.searchParams.get("last_event_id")).toBe(order(3).id);
});

it("lets other messages pass at once", async () => {
  server.publish(order(1));
  server.last.send({ type: "subscribed", topics: ["orders"] });
  await settled();
  expect(log).toEqual(["subscribed"]);
});
