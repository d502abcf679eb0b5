import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { WebSocketService } from "../src/orderwire.js";
import { createStore, type OrderStore } from "../src/store.js";
import { FakeServer, order, settled } from "./fake-server.js";

let server: FakeServer;
let service: WebSocketService;
let store: OrderStore;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
  server = new FakeServer();
  server.install();
  service = new WebSocketService({ url: "ws://shop.example/api/ws" });
  store = createStore(service);
});
afterEach(() => {
  service.disconnect();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function published(): Promise<void> {
  await settled();
  vi.advanceTimersByTime(50);
  await settled();
}

it("connects for its first subscriber, and disconnects a second after the last one", async () => {
  await published();
  expect(server.sessions).toEqual([]);
  const unsubscribe = [store.subscribe(() => {}), store.subscribe(() => {})];
  await published();
  expect(store.getSnapshot().isConnected).toBe(true);
  for (const run of unsubscribe) run();
  vi.advanceTimersByTime(999);
  expect(service.isConnected()).toBe(true);
  vi.advanceTimersByTime(1);
  expect(service.isConnected()).toBe(false);
});

it("publishes immutable snapshots: a new object for a change, the same one without", async () => {
  let calls = 0;
  store.subscribe(() => calls++);
  await published();
  const before = store.getSnapshot();
  server.publish(order(1));
  server.publish(order(2));
  await published();
  const after = store.getSnapshot();
  expect(after).not.toBe(before);
  expect(before.events).toEqual([]);
  expect(after.events.map(({ order_id }) => order_id)).toEqual([2, 1]);
  expect(calls).toBe(2);
  await published();
  expect(store.getSnapshot()).toBe(after);
});

it("gives a server the initial snapshot, whatever the connection does", async () => {
  const initial = store.getServerSnapshot();
  store.subscribe(() => {});
  await published();
  expect(store.getServerSnapshot()).toBe(initial);
  expect(initial).toMatchObject({ isConnected: false, status: { state: "idle" }, latestOrder: null, events: [] });
});

it("tells orders apart by their keys, and keeps no events of streams", async () => {
  store.subscribe(() => {});
  await published();
  server.publish(order(1, { order_id: "9007199254740993", key: "9007199254740993" }));
  server.publish(order(2, { order_id: "9007199254740992", key: "9007199254740992" }));
  server.last.send(order(3, { id: "epoch-700-0", order_id: "9007199254740992", key: "9007199254740992" })); // replayed
  server.last.send({ type: "row_insert", id: "epoch-710-9", stream: "stock", key: "1", at: "2026-01-02T03:04:05Z" });
  await published();
  expect(store.getSnapshot().events.map(({ id, key }) => [id, key])).toEqual([
    ["epoch-702-2", "9007199254740992"],
    ["epoch-701-1", "9007199254740993"],
  ]);
  expect(service.lastEventId).toBe("epoch-710-9");
});

it("has the revenue by currency if the server sends it", async () => {
  store.subscribe(() => {});
  await published();
  expect(store.getSnapshot().stats?.revenueByCurrency).toBeUndefined();
  const totals = { type: "analytics_update", total_orders: 2, total_revenue: "3.000", pending_orders: 0 };
  server.last.send({ ...totals, revenue_by_currency: { KWD: "3.000", JPY: "500" } });
  await published();
  expect(store.getSnapshot().stats).toMatchObject({ totalRevenue: "3.000", revenueByCurrency: { KWD: "3.000", JPY: "500" } });
});

it("has no totals until the first have come", async () => {
  server.greet = (session) => session.send({ type: "subscribed", topics: ["orders"] });
  store.subscribe(() => {});
  await published();
  expect(store.getSnapshot()).toMatchObject({ isConnected: true, stats: null });
  server.last.send({ type: "analytics_update", total_orders: 0, total_revenue: "0", pending_orders: 0 });
  await published();
  expect(store.getSnapshot().stats).toEqual({ totalOrders: 0, totalRevenue: "0", pendingOrders: 0, revenueByCurrency: undefined });
});

it("shares the connection with other stores of the service, until the last one has no subscriber", async () => {
  const other = createStore(service);
  const unsubscribe = store.subscribe(() => {});
  const leave = other.subscribe(() => {});
  await published();
  expect([store, other].map((each) => each.getSnapshot().isConnected)).toEqual([true, true]);
  unsubscribe();
  vi.advanceTimersByTime(1_000);
  expect(service.isConnected()).toBe(true);
  leave();
  vi.advanceTimersByTime(1_000);
  expect(service.isConnected()).toBe(false);
  expect(server.sessions).toHaveLength(1);
});

it("is as of now when a subscriber is added, and not as of when the last one left", async () => {
  service.connect();
  const unsubscribe = store.subscribe(() => {});
  await published();
  server.publish(order(1));
  await published();
  expect(store.getSnapshot()).toMatchObject({ isConnected: true, events: [{ order_id: 1 }] });
  unsubscribe();
  vi.advanceTimersByTime(1_000);
  service.disconnect();
  store.subscribe(() => {});
  expect(store.getSnapshot()).toMatchObject({ isConnected: false, status: { state: "connecting" }, events: [] });
});

it("calls a function as often as it is subscribed, and unsubscribes each once", async () => {
  let calls = 0;
  const subscriber = (): void => void calls++;
  const [first, second] = [store.subscribe(subscriber), store.subscribe(subscriber)];
  await published();
  expect(calls).toBe(2);
  first();
  vi.advanceTimersByTime(500);
  first();
  second();
  vi.advanceTimersByTime(999);
  store.subscribe(subscriber);
  vi.advanceTimersByTime(5_000);
  expect(service.isConnected()).toBe(true);
});

it("has the methods of a store of React, which need no `this`", () => {
  const { subscribe, getSnapshot, getServerSnapshot } = store;
  expect(getSnapshot()).toBe(getServerSnapshot());
  subscribe(() => {})();
});
