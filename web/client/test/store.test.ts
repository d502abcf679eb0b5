import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { WebSocketService } from "../src/orderwire.js";
import { OrderStore } from "../src/store.js";
import { FakeServer, order, settled } from "./fake-server.js";

let server: FakeServer;
let service: WebSocketService;
let store: OrderStore;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
  server = new FakeServer();
  server.install();
  service = new WebSocketService({ url: "ws://shop.example/api/ws" });
  store = new OrderStore(service);
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
