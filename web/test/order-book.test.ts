import type { OrderEvent } from "@orderwire/client";
import { expect, test } from "vitest";
import { OrderBook, type OrderRow } from "../src/state/order-book.ts";

const AT = "2026-01-02T03:04:05.000000Z";

function created(order: number, number: number, total = "10.00"): OrderEvent {
  return { type: "new_order", id: `e-1-${number}`, order_id: order, order_number: `N${order}`, customer_name: "Anna", total, status: "pending", at: AT };
}

function moved(order: number, number: number, status: "confirmed" | "ready"): OrderEvent {
  return { type: "order_status_update", id: `e-1-${number}`, order_id: order, order_number: `N${order}`, status, previous_status: "pending", at: AT };
}

function deleted(order: number, number: number): OrderEvent {
  return { type: "order_delete", id: `e-1-${number}`, order_id: order, order_number: `N${order}`, at: AT };
}

function row(id: number, status: OrderRow["status"] = "pending"): OrderRow {
  return { id, order_number: `N${id}`, customer_name: "Bo", total: "5.00", status, created_at: AT, updated_at: AT };
}

function ids(book: OrderBook): number[] {
  return book.select().map((order) => order.id);
}

test("events make, change and delete orders, newest first", () => {
  const book = new OrderBook();
  expect([created(1, 1), created(3, 2), created(2, 3)].map((event) => book.apply(event))).toEqual(["added", "added", "added"]);
  expect(ids(book)).toEqual([3, 2, 1]);
  expect(book.apply(moved(2, 4, "ready"))).toBe("changed");
  expect(book.get(2)?.status).toBe("ready");
  expect(book.apply({ type: "order_update", id: "e-1-5", order_id: 2, order_number: "N2", total: "7.50", at: AT })).toBe("changed");
  expect(book.get(2)).toMatchObject({ total: "7.50", customer: "Anna", status: "ready" });
  expect(book.apply(deleted(3, 6))).toBe("removed");
  expect(ids(book)).toEqual([2, 1]);
});

test("an event that is not newer than the order's last one changes nothing", () => {
  const book = new OrderBook();
  book.apply(created(1, 1));
  book.apply(moved(1, 9, "ready"));
  expect(book.apply(moved(1, 9, "confirmed"))).toBe("none");
  expect(book.apply(moved(1, 8, "confirmed"))).toBe("none");
  expect(book.get(1)?.status).toBe("ready");
  book.apply(deleted(1, 10));
  expect(book.apply(created(1, 1))).toBe("none"); // replayed late: the order does not come back
  expect(ids(book)).toEqual([]);
});

test("an order that changes is another object, the others stay the same", () => {
  const book = new OrderBook();
  book.apply(created(1, 1));
  book.apply(created(2, 2));
  const [two, one] = book.select();
  book.apply(moved(2, 3, "ready"));
  expect(book.get(1)).toBe(one);
  expect(book.get(2)).not.toBe(two);
});

test("what happens while rows are being fetched is neither missed nor undone", () => {
  const book = new OrderBook();
  const merge = book.startFetch(true);
  book.apply(created(4, 10)); // after the rows were read
  book.apply(moved(2, 11, "ready")); // of an order that only the rows know
  book.apply(deleted(1, 12)); // after the rows were read
  expect(merge([row(3), row(2, "confirmed"), row(1)], true)).toBe(true);
  expect(ids(book)).toEqual([4, 3, 2]);
  expect(book.get(2)?.status).toBe("ready");
  expect(book.reachesBack).toBe(true);
});

test("fetching anew replaces everything, older events included", () => {
  const book = new OrderBook();
  book.apply(created(1, 50));
  book.apply(created(2, 51));
  const merge = book.startFetch(true);
  merge([row(1, "ready")], true);
  expect(ids(book)).toEqual([1]);
  expect(book.apply(moved(1, 3, "confirmed"))).toBe("changed"); // another epoch may count from the beginning
});

test("older orders come below, and a deleted one does not come back with them", () => {
  const book = new OrderBook();
  book.startFetch(true)([row(9), row(8)], false);
  const merge = book.startFetch(false);
  book.apply(moved(7, 20, "ready"));
  book.apply(deleted(6, 21));
  merge([row(7), row(6), row(5)], true);
  expect(ids(book)).toEqual([9, 8, 7, 5]);
  expect(book.get(7)?.status).toBe("ready");
});

test("an answer that a later fetch has overtaken is not used", () => {
  const book = new OrderBook();
  const slow = book.startFetch(true);
  const fast = book.startFetch(true);
  expect(slow([row(1)], true)).toBe(false);
  expect(fast([row(2)], true)).toBe(true);
  expect(ids(book)).toEqual([2]);
});

test("the oldest are dropped when there are too many", () => {
  const book = new OrderBook();
  book.startFetch(true)([], true);
  for (let id = 1; id <= 25_000; id++) book.apply(created(id, id));
  expect(book.size).toBeLessThanOrEqual(20_000);
  expect(ids(book)[0]).toBe(25_000);
  expect(book.reachesBack).toBe(false);
});
