import { beforeEach, expect, test, vi } from "vitest";
import { ApiError, type OrderRow } from "../src/api.ts";
import { gaps, insertEvent, OrderDetail, orderOf, statusSince, type HistoryEvent } from "../src/state/order-detail.ts";
import { created, deferred, deleted, FakeFeed, moved, row } from "./fake-feed.ts";

interface Fetch {
  row: ReturnType<typeof deferred<OrderRow>>;
  events: ReturnType<typeof deferred<{ events: HistoryEvent[] }>>;
}

let feed: FakeFeed;
let detail: OrderDetail;
let fetches: Fetch[];
let stop: () => void;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  feed = new FakeFeed();
  fetches = [];
  detail = new OrderDetail("1", feed.service, {
    order: () => {
      const fetch = { row: deferred<OrderRow>(), events: deferred<{ events: HistoryEvent[] }>() };
      fetches.push(fetch);
      return fetch.row.promise;
    },
    orderEvents: () => (fetches.at(-1) as Fetch).events.promise,
  });
  stop = detail.start();
});

async function answer(order: OrderRow | ApiError, events: HistoryEvent[] | ApiError, fetch = fetches.at(-1) as Fetch): Promise<void> {
  if (order instanceof ApiError) fetch.row.reject(order);
  else fetch.row.resolve(order);
  if (events instanceof ApiError) fetch.events.reject(events);
  else fetch.events.resolve({ events });
  await vi.advanceTimersByTimeAsync(0);
}

const ids = () => detail.getSnapshot().events.map(({ id }) => id.slice(4));

test("has the order and its history, newest first", async () => {
  await answer(row(1, { status: "ready", data: { note: "x" } }), [moved(1, 2, "pending", "ready"), created(1, 1)]);
  expect(detail.getSnapshot()).toMatchObject({ state: "ready", isDeleted: false, order: { status: "ready", data: { note: "x" } } });
  expect(ids()).toEqual(["2", "1"]);
});

test("events between the request and the answer are neither lost nor doubled", async () => {
  feed.emit("message", moved(1, 2, "pending", "confirmed")); // in the history too
  feed.emit("message", moved(1, 3, "confirmed", "ready")); // only live
  await answer(row(1, { status: "confirmed" }), [moved(1, 2, "pending", "confirmed"), created(1, 1)]);
  expect(ids()).toEqual(["3", "2", "1"]);
  expect(detail.getSnapshot().order?.status).toBe("ready");
  feed.emit("message", moved(1, 2, "pending", "confirmed")); // replayed by a resume
  expect(ids()).toEqual(["3", "2", "1"]);
  expect(detail.getSnapshot().order?.status).toBe("ready");
});

test("an event that arrives late takes its place in the history", async () => {
  await answer(row(1), [moved(1, 5, "pending", "ready"), created(1, 1)]);
  feed.emit("message", moved(1, 3, "pending", "confirmed"));
  expect(ids()).toEqual(["5", "3", "1"]);
});

test("follows events of its own order and of rows that belong to it, and of no other", async () => {
  await answer(row(1), [created(1, 1)]);
  feed.emit("message", moved(2, 7, "pending", "ready"));
  feed.emit("message", { type: "row_insert", stream: "lines", id: "e-1-8", key: "77", order_id: 1, at: "2026-01-02T03:04:05Z" });
  feed.emit("message", { type: "row_insert", stream: "stock", id: "e-1-9", key: "1", at: "2026-01-02T03:04:05Z" });
  expect(ids()).toEqual(["8", "1"]);
  expect(detail.getSnapshot().order?.status).toBe("pending");
});

test("a deleted order keeps its last values", async () => {
  await answer(row(1, { status: "ready", total: "9.00" }), [created(1, 1)]);
  feed.emit("message", deleted(1, 2));
  expect(detail.getSnapshot()).toMatchObject({ isDeleted: true, order: { status: "ready", total: "9.00" } });
  feed.emit("message", created(1, 3, { total: "1.00" })); // the same key again
  expect(detail.getSnapshot()).toMatchObject({ isDeleted: false, order: { status: "pending", total: "1.00" } });
});

test("an order that was deleted before is made of its history", async () => {
  const history = [deleted(1, 3), moved(1, 2, "pending", "ready", { total: "7.00" }), created(1, 1, { customer_name: "Anna" })];
  await answer(new ApiError(404), history);
  expect(detail.getSnapshot()).toMatchObject({ state: "ready", isDeleted: true, order: { status: "ready", total: "7.00", customer: "Anna", number: "N1" } });
});

test("an order of which neither the table nor the journal knows is unknown, until it is created", async () => {
  await answer(new ApiError(404), new ApiError(404));
  expect(detail.getSnapshot()).toMatchObject({ state: "unknown", order: null, events: [] });
  feed.emit("message", created(1, 1));
  expect(detail.getSnapshot()).toMatchObject({ state: "ready", order: { number: "N1" } });
});

test("retries a failed fetch, and keeps what is shown", async () => {
  feed.emit("message", created(1, 1));
  await answer(new ApiError(503), new ApiError(503));
  expect(detail.getSnapshot()).toMatchObject({ state: "failed", order: { number: "N1" } });
  await vi.advanceTimersByTimeAsync(2_000);
  expect(fetches).toHaveLength(2);
  await answer(row(1), [created(1, 1)]);
  expect(detail.getSnapshot().state).toBe("ready");
});

test("fetches anew after a gap, and ignores an earlier answer", async () => {
  await answer(row(1), [created(1, 1)]);
  feed.emit("gap");
  feed.emit("gap");
  await answer(row(1, { status: "ready" }), [moved(1, 9, "pending", "ready"), created(1, 1)], fetches[1]);
  expect(ids()).toEqual(["1"]);
  await answer(row(1, { status: "cancelled" }), [moved(1, 10, "ready", "cancelled")], fetches[2]);
  expect(ids()).toEqual(["10"]);
});

test("is forbidden for a role that may not see orders", async () => {
  await answer(new ApiError(403), new ApiError(403));
  expect(detail.getSnapshot().state).toBe("forbidden");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(fetches).toHaveLength(1);
});

test("fetches the whole of an order that an event has in part", async () => {
  await answer(row(1), [created(1, 1)]);
  feed.emit("message", { ...created(1, 2), type: "order_update", customer_name: "Anna Mar", truncated: ["customer_name"] });
  expect(detail.getSnapshot().order?.truncated).toEqual(["customer_name"]);
  await answer(row(1, { customer_name: "Anna Maria" }), []);
  expect(detail.getSnapshot().order).toMatchObject({ customer: "Anna Maria", truncated: [] });
});

test("after it was stopped it follows nothing", async () => {
  stop();
  expect(feed.listeners).toBe(0);
  await answer(row(1), [created(1, 1)]);
  expect(detail.getSnapshot().state).toBe("loading");
});

test("the journal may have lost the beginning: the deletion's own values are used", () => {
  const order = orderOf([deleted(1, 9, { previous_status: "ready", previous_total: "3.00", created_at: "2026-01-01T00:00:00Z" })]);
  expect(order).toMatchObject({ status: "ready", total: "3.00", createdAt: "2026-01-01T00:00:00Z" });
  expect(orderOf([])).toBeNull();
});

test("the times between events, and since when the status is as it is", () => {
  const at = (seconds: number) => ({ at: new Date(seconds * 1000).toISOString() });
  const events = [{ ...moved(1, 3, "a", "b"), ...at(100) }, { ...moved(1, 2, "x", "a"), at: "infinity" }, { ...created(1, 1), ...at(10) }];
  expect([...gaps(events)]).toEqual([]);
  expect([...gaps([events[0] as HistoryEvent, events[2] as HistoryEvent])]).toEqual([["e-1-3", 90_000]]);
  expect(statusSince(events)).toBe(100_000);
  expect(statusSince([])).toBeNull();
});

test("an event of another epoch is newer than all", () => {
  const event = { ...created(1, 1), id: "f-1-1" };
  expect(insertEvent([created(1, 9)], event)[0]).toBe(event);
});
