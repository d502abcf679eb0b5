import type { OrderEvent } from "@orderwire/client";
import { expect, test } from "vitest";
import type { OrderRow } from "../src/api.ts";
import { OrderList } from "../src/state/order-list.ts";

const AT = "2026-01-02T03:04:05.000000Z";

function created(order: number, sequence: number, total = "10.00"): OrderEvent {
  return { type: "new_order", id: `e-1-${sequence}`, order_id: order, order_number: `N${order}`, customer_name: "Anna", total, status: "pending", at: AT };
}

function statusChanged(order: number, sequence: number, status: "confirmed" | "ready"): OrderEvent {
  return { type: "order_status_update", id: `e-1-${sequence}`, order_id: order, order_number: `N${order}`, status, previous_status: "pending", at: AT };
}

function deleted(order: number, sequence: number): OrderEvent {
  return { type: "order_delete", id: `e-1-${sequence}`, order_id: order, order_number: `N${order}`, at: AT };
}

function row(id: number, status: OrderRow["status"] = "pending"): OrderRow {
  return { id, order_number: `N${id}`, customer_name: "Bo", total: "5.00", status, created_at: AT, updated_at: AT };
}

function ids(list: OrderList): number[] {
  return list.filter().map((order) => order.id);
}

test("applies events, and lists the newest order first", () => {
  const list = new OrderList();
  expect([created(1, 1), created(3, 2), created(2, 3)].map((event) => list.apply(event))).toEqual(["added", "added", "added"]);
  expect(ids(list)).toEqual([3, 2, 1]);
  expect(list.apply(statusChanged(2, 4, "ready"))).toBe("changed");
  expect(list.get(2)?.status).toBe("ready");
  expect(list.apply({ type: "order_update", id: "e-1-5", order_id: 2, order_number: "N2", total: "7.50", at: AT })).toBe("changed");
  expect(list.get(2)).toMatchObject({ total: "7.50", customer: "Anna", status: "ready" });
  expect(list.apply(deleted(3, 6))).toBe("removed");
  expect(ids(list)).toEqual([2, 1]);
});

test("ignores an event that is not newer than the last one of its order", () => {
  const list = new OrderList();
  list.apply(created(1, 1));
  list.apply(statusChanged(1, 9, "ready"));
  expect(list.apply(statusChanged(1, 9, "confirmed"))).toBe("none");
  expect(list.apply(statusChanged(1, 8, "confirmed"))).toBe("none");
  expect(list.get(1)?.status).toBe("ready");
  list.apply(deleted(1, 10));
  expect(list.apply(created(1, 1))).toBe("none"); // a replayed event does not restore a deleted order
  expect(ids(list)).toEqual([]);
});

test("replaces the object of a changed order, and no other", () => {
  const list = new OrderList();
  list.apply(created(1, 1));
  list.apply(created(2, 2));
  const [two, one] = list.filter();
  list.apply(statusChanged(2, 3, "ready"));
  expect(list.get(1)).toBe(one);
  expect(list.get(2)).not.toBe(two);
});

test("keeps the changes that happen during a fetch", () => {
  const list = new OrderList();
  const merge = list.startFetch(true);
  list.apply(created(4, 10)); // after the rows were read
  list.apply(statusChanged(2, 11, "ready")); // of an order that only the rows contain
  list.apply(deleted(1, 12)); // after the rows were read
  expect(merge([row(3), row(2, "confirmed"), row(1)], true)).toBe(true);
  expect(ids(list)).toEqual([4, 3, 2]);
  expect(list.get(2)?.status).toBe("ready");
  expect(list.isComplete).toBe(true);
});

test("replaces everything with the rows of a new fetch, including the ids of last events", () => {
  const list = new OrderList();
  list.apply(created(1, 50));
  list.apply(created(2, 51));
  const merge = list.startFetch(true);
  merge([row(1, "ready")], true);
  expect(ids(list)).toEqual([1]);
  expect(list.apply(statusChanged(1, 3, "confirmed"))).toBe("changed"); // sequence numbers may have restarted in another epoch
});

test("adds older orders, without those that were deleted meanwhile", () => {
  const list = new OrderList();
  list.startFetch(true)([row(9), row(8)], false);
  const merge = list.startFetch(false);
  list.apply(statusChanged(7, 20, "ready"));
  list.apply(deleted(6, 21));
  merge([row(7), row(6), row(5)], true);
  expect(ids(list)).toEqual([9, 8, 7, 5]);
  expect(list.get(7)?.status).toBe("ready");
});

test("ignores the response of a fetch when a later one was started", () => {
  const list = new OrderList();
  const slow = list.startFetch(true);
  const fast = list.startFetch(true);
  expect(slow([row(1)], true)).toBe(false);
  expect(fast([row(2)], true)).toBe(true);
  expect(ids(list)).toEqual([2]);
});

test("evicts the oldest orders beyond its limit", () => {
  const list = new OrderList();
  list.startFetch(true)([], true);
  for (let id = 1; id <= 25_000; id++) list.apply(created(id, id));
  expect(list.size).toBeLessThanOrEqual(20_000);
  expect(ids(list)[0]).toBe(25_000);
  expect(list.isComplete).toBe(false);
});
