import type { OrderEvent, OrderUpdate } from "@orderwire/client";
import { expect, test } from "vitest";
import type { OrderRow } from "../src/api.ts";
import { OrderList } from "../src/state/order-list.ts";

const AT = "2026-01-02T03:04:05.000000Z";

function base(key: string, sequence: number) {
  return { id: `e-1-${sequence}`, order_id: key, key, order_number: `N${key}`, at: AT };
}

function created(key: string, sequence: number, total = "10.00"): OrderEvent {
  return { type: "new_order", ...base(key, sequence), customer_name: "Anna", total, status: "pending" };
}

function statusChanged(key: string, sequence: number, status: string | null): OrderEvent {
  return { type: "order_status_update", ...base(key, sequence), status, previous_status: "pending" };
}

function changed(key: string, sequence: number, fields: Partial<OrderUpdate>): OrderEvent {
  return { type: "order_update", ...base(key, sequence), ...fields };
}

function deleted(key: string, sequence: number): OrderEvent {
  return { type: "order_delete", ...base(key, sequence) };
}

function row(key: string, fields: Partial<OrderRow> = {}): OrderRow {
  return { id: key, key, order_number: `N${key}`, customer_name: "Bo", total: "5.00", status: "pending", created_at: AT, ...fields };
}

function keys(list: OrderList): string[] {
  return list.filter().map((order) => order.key);
}

test("applies events, and lists new orders on top, whatever their keys", () => {
  const list = new OrderList();
  expect([created("b", 1), created("a", 2), created("c", 3)].map((event) => list.apply(event))).toEqual(["added", "added", "added"]);
  expect(keys(list)).toEqual(["c", "a", "b"]);
  expect(list.apply(statusChanged("a", 4, "SENT"))).toBe("changed");
  expect(list.get("a")?.status).toBe("SENT");
  expect(list.apply(changed("a", 5, { total: "7.50" }))).toBe("changed");
  expect(list.get("a")).toMatchObject({ total: "7.50", customer: "Anna", status: "SENT" });
  expect(list.apply(deleted("c", 6))).toBe("removed");
  expect(keys(list)).toEqual(["a", "b"]);
});

test("keeps keys apart that are one number in JavaScript", () => {
  const list = new OrderList();
  list.apply(created("9007199254740992", 1));
  list.apply(created("9007199254740993", 2));
  list.apply(deleted("9007199254740992", 3));
  expect(keys(list)).toEqual(["9007199254740993"]);
});

test("takes fields that are null, in rows and in events", () => {
  const list = new OrderList();
  list.startFetch(true)([row("x", { order_number: null, customer_name: null, total: null, status: null, created_at: null })], null);
  expect(list.get("x")).toMatchObject({ number: "x", customer: null, total: null, currency: null, status: "", createdAt: null, createdMs: NaN, data: null });
  list.apply(changed("x", 1, { customer_name: "Anna", total: "1.500", currency: "KWD", data: { table: 5 } }));
  expect(list.get("x")).toMatchObject({ number: "Nx", customer: "Anna", total: "1.500", currency: "KWD", data: { table: 5 } });
  list.apply(changed("x", 2, { customer_name: null, total: null }));
  list.apply(statusChanged("x", 3, null));
  expect(list.get("x")).toMatchObject({ customer: null, total: null, currency: "KWD", status: "", data: { table: 5 } });
  list.apply(changed("x", 4, { order_number: null }));
  expect(list.get("x")?.number).toBe("x");
});

test("knows which fields events have cut, until an event has them whole", () => {
  const list = new OrderList();
  list.apply({ ...created("x", 1), truncated: ["customer_name", "data"] });
  expect(list.get("x")?.truncated).toEqual(["customer_name", "data"]);
  list.apply(statusChanged("x", 2, "ready"));
  expect(list.get("x")?.truncated).toEqual(["customer_name", "data"]);
  list.apply(changed("x", 3, { customer_name: "Bo" }));
  expect(list.get("x")?.truncated).toEqual(["data"]);
  list.apply(changed("x", 4, { data: {} }));
  expect(list.get("x")?.truncated).toEqual([]);
});

test("keeps a date that JavaScript does not know", () => {
  const list = new OrderList();
  list.startFetch(true)([row("x", { created_at: "10000-01-01T00:00:00.000000Z" })], null);
  expect(list.get("x")).toMatchObject({ createdAt: "10000-01-01T00:00:00.000000Z", createdMs: NaN });
});

test("ignores an event that is not newer than the last one of its order", () => {
  const list = new OrderList();
  list.apply(created("1", 1));
  list.apply(statusChanged("1", 9, "ready"));
  expect(list.apply(statusChanged("1", 9, "confirmed"))).toBe("none");
  expect(list.apply(statusChanged("1", 8, "confirmed"))).toBe("none");
  expect(list.get("1")?.status).toBe("ready");
  list.apply(deleted("1", 10));
  expect(list.apply(created("1", 1))).toBe("none"); // a replayed event does not restore a deleted order
  expect(keys(list)).toEqual([]);
});

test("replaces the object of a changed order, and no other, and leaves it in its place", () => {
  const list = new OrderList();
  for (const [index, key] of ["1", "2", "3"].entries()) list.apply(created(key, index + 1));
  const [, two, one] = list.filter();
  list.apply(statusChanged("2", 4, "ready"));
  expect(list.get("1")).toBe(one);
  expect(list.get("2")).not.toBe(two);
  expect(list.get("2")?.rank).toBe(two?.rank);
  expect(list.filter()[1]).toBe(list.get("2"));
});

test("keeps the changes that happen during a fetch, and the order of the server", () => {
  const list = new OrderList();
  const merge = list.startFetch(true);
  list.apply(created("d", 10)); // after the rows were read
  list.apply(created("c", 11)); // before
  list.apply(statusChanged("x", 12, "ready")); // of an order that only the rows contain
  list.apply(deleted("a", 13)); // after the rows were read
  const createdAt = "2020-01-01T00:00:00.000000Z";
  expect(merge([row("z"), row("c", { created_at: createdAt }), row("x", { status: "confirmed" }), row("a")], null)).toBe(true);
  expect(keys(list)).toEqual(["d", "z", "c", "x"]);
  expect(list.get("x")?.status).toBe("ready");
  expect(list.get("c")?.createdAt).toBe(createdAt); // the table has one, and the event does not say
  expect(list.isComplete).toBe(true);
});

test("replaces everything with the rows of a new fetch, including the ids of last events", () => {
  const list = new OrderList();
  list.apply(created("1", 50));
  list.apply(created("2", 51));
  const merge = list.startFetch(true);
  merge([row("1", { status: "ready" })], null);
  expect(keys(list)).toEqual(["1"]);
  expect(list.get("2")).toBeUndefined();
  expect(list.apply(statusChanged("1", 3, "confirmed"))).toBe("changed"); // sequence numbers may have restarted in another epoch
});

test("adds older orders once, without those that were deleted meanwhile", () => {
  const list = new OrderList();
  list.startFetch(true)([row("9"), row("8")], { after: "cursor" });
  expect([list.next, list.isComplete]).toEqual([{ after: "cursor" }, false]);
  const merge = list.startFetch(false);
  list.apply(statusChanged("7", 20, "ready"));
  list.apply(deleted("6", 21));
  list.apply(created("new", 22));
  merge([row("8"), row("7"), row("6"), row("5")], null);
  expect(keys(list)).toEqual(["new", "9", "8", "7", "5"]);
  expect(list.get("7")?.status).toBe("ready");
  expect([list.next, list.isComplete]).toEqual([undefined, true]);
  const ranks = list.all().map(({ rank }) => rank);
  expect(ranks).toEqual([...ranks].sort((a, b) => a - b));
  expect(new Set(ranks).size).toBe(5);
});

test("ignores the response of a fetch when a later one was started", () => {
  const list = new OrderList();
  const slow = list.startFetch(true);
  const fast = list.startFetch(true);
  expect(slow([row("1")], null)).toBe(false);
  expect(fast([row("2")], null)).toBe(true);
  expect(keys(list)).toEqual(["2"]);
});

/** A new order, made so many seconds after the Unix epoch. */
function createdAt(second: number): OrderEvent {
  return { ...created(String(second), second), created_at: new Date(second * 1000).toISOString() };
}

test("new orders push out the oldest, and older ones go on at the time of those", () => {
  const list = new OrderList();
  list.startFetch(true)([], { after: "cursor" });
  for (let n = 1; n <= 25_000; n++) list.apply(createdAt(n));
  expect(list.size).toBeLessThanOrEqual(5_500);
  expect(keys(list)[0]).toBe("25000");
  const oldest = Number(list.oldest?.key);
  expect(list.get(String(oldest - 1))).toBeUndefined();
  expect([list.isComplete, list.next]).toEqual([false, { to: new Date((oldest - 1) * 1000 + 1).toISOString() }]);
  const merge = list.startFetch(false);
  const at = (n: number) => row(String(n), { created_at: new Date(n * 1000).toISOString() });
  expect(merge([at(oldest), at(oldest - 1), at(oldest - 2)], { after: "cursor", to: "time" })).toBe(true);
  expect(list.all().slice(0, 3).map(({ key }) => Number(key))).toEqual([oldest - 2, oldest - 1, oldest]);
  expect(list.next).toEqual({ after: "cursor", to: "time" });
});

test("keeps as many orders as the user has loaded", () => {
  const list = new OrderList();
  const rows = (from: number) => Array.from({ length: 1_000 }, (_, index) => row(String(from - index)));
  list.startFetch(true)(rows(100_000), { after: "page 2" });
  for (let page = 1; page < 19; page++) list.startFetch(false)(rows(100_000 - 1_000 * page), { after: "next" });
  expect([list.size, list.next]).toEqual([19_000, { after: "next" }]);
  list.startFetch(false)(rows(81_000), { after: "next" });
  expect([list.size, list.next]).toEqual([20_000, undefined]);
  for (let n = 1; n <= 5_000; n++) list.apply(created(`new ${n}`, n));
  expect(list.size).toBeGreaterThanOrEqual(20_000);
  expect(list.size).toBeLessThanOrEqual(20_500);
});

test("ignores older rows that do not follow on the list any more", () => {
  const list = new OrderList();
  list.startFetch(true)([], { after: "cursor" });
  for (let n = 1; n <= 5_400; n++) list.apply(createdAt(n));
  const merge = list.startFetch(false);
  for (let n = 5_401; n <= 5_600; n++) list.apply(createdAt(n));
  expect(merge([row("0")], null)).toBe(false);
  expect(list.get("0")).toBeUndefined();
});

test("fetches no older orders when the time of those that were pushed out is not known", () => {
  const list = new OrderList();
  list.startFetch(true)([row("1", { created_at: null })], { after: "cursor" });
  for (let n = 2; n <= 6_000; n++) list.apply({ ...created(String(n), n), created_at: null });
  expect([list.isComplete, list.next]).toEqual([false, undefined]);
});

test("takes the time of creation and the currency from events, also where they are taken away", () => {
  const list = new OrderList();
  const createdAt = "2020-01-01T00:00:00.000000Z";
  list.apply({ type: "new_order", ...base("x", 1), customer_name: null, total: "1", status: null, currency: "EUR", created_at: createdAt });
  expect(list.get("x")).toMatchObject({ createdAt, createdMs: Date.parse(createdAt), currency: "EUR" });
  list.apply(changed("x", 2, { created_at: AT, currency: null }));
  expect(list.get("x")).toMatchObject({ createdAt: AT, createdMs: Date.parse(AT), currency: null });
  list.apply(changed("x", 3, { created_at: null }));
  expect(list.get("x")).toMatchObject({ createdAt: null, createdMs: NaN });
});
