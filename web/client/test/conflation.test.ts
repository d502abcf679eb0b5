import { describe, expect, it } from "vitest";
import { Conflation } from "../src/conflation.js";
import type { ServerMessage } from "../src/orderwire.js";

let sequence = 0;
/** A message with the fields that every event has. `key` 0 is for messages that are no events. */
function message(type: string, key: number | string, fields: object = {}): ServerMessage {
  const common = key === 0 ? {} : { id: `epoch-1-${++sequence}`, key: String(key), at: "2026-01-02T03:04:05Z" };
  return { type, ...common, ...fields } as unknown as ServerMessage;
}

function deliver(...messages: ServerMessage[]): { message: ServerMessage; count: number }[] {
  const conflation = new Conflation();
  for (const each of messages) expect(conflation.add(each)).toBe(true);
  const taken = [...conflation.take()];
  expect(conflation.isEmpty).toBe(true);
  return taken;
}

const types = (taken: { message: ServerMessage; count: number }[]): unknown[] =>
  taken.map(({ message: { type, ...rest }, count }) => [type, "key" in rest ? rest.key : null, count]);

describe("changes of one order", () => {
  it("become one event: the newest values, the values from before the first, and the id of the last", () => {
    const last = message("order_update", 1, { total: "30", previous_total: "20", status: "ready", order_number: "A" });
    const [only, ...others] = deliver(
      message("order_update", 1, { total: "20", previous_total: "10", status: "pending", actor: { role: "shop" } }),
      message("order_status_update", 1, { status: "ready", previous_status: "pending", total: "20" }),
      last,
    );
    expect(others).toEqual([]);
    expect(only).toEqual({
      count: 3,
      message: { ...last, type: "order_status_update", total: "30", previous_total: "10", status: "ready", previous_status: "pending" },
    });
  });

  it("leave a new order new, as it is now", () => {
    const order = message("new_order", 1, { customer_name: "Иван", total: "10", status: "pending" });
    const update = message("order_status_update", 1, { status: "ready", previous_status: "pending", total: "10" });
    const [only] = deliver(order, update);
    const { previous_status: _, ...now } = { ...order, ...update, type: "new_order" } as ServerMessage & { previous_status: string };
    expect(only).toEqual({ message: now, count: 2 });
  });

  it("keep the fields that are cut, unless they are whole in a newer event", () => {
    const cut = message("new_order", 1, { customer_name: "Ив", total: "10", status: "pend", truncated: ["customer_name", "status", "data"] });
    const [first] = deliver(cut, message("order_update", 1, { customer_name: "Иван" }));
    expect(first?.message).toMatchObject({ customer_name: "Иван", truncated: ["status", "data"] });
    const [second] = deliver(message("order_update", 1, { data: { note: "old" } }), message("order_update", 1, { truncated: ["data"] }));
    expect(second?.message).toMatchObject({ truncated: ["data"] });
    expect(second?.message).not.toHaveProperty("data");
  });
});

it("delivers in the order of the newest events, so that the last one has the newest cursor", () => {
  const taken = deliver(message("order_update", 1), message("order_update", 2), message("analytics_update", 0, { total_orders: 1 }),
    message("order_update", 1), message("order_update", 3), message("analytics_update", 0, { total_orders: 2 }));
  expect(types(taken)).toEqual([["order_update", "2", 1], ["order_update", "1", 2], ["order_update", "3", 1], ["analytics_update", null, 2]]);
  expect(taken.at(-1)?.message).toMatchObject({ total_orders: 2 });
});

it("loses no deletion, whatever comes before and after it", () => {
  const taken = deliver(message("new_order", 1), message("order_update", 1), message("order_delete", 1), message("new_order", 1),
    message("order_update", 1), message("order_delete", 2), message("order_delete", 1));
  expect(types(taken)).toEqual([
    ["new_order", "1", 2],
    ["order_delete", "1", 1],
    ["new_order", "1", 2],
    ["order_delete", "2", 1],
    ["order_delete", "1", 1],
  ]);
});

it("tells orders, rows of streams and streams apart", () => {
  const row = (type: string, stream: string, data: object) => message(type, 1, { stream, data });
  const taken = deliver(message("order_update", 1), row("row_insert", "stock", { n: 1 }), row("row_update", "shelf", { n: 2 }),
    row("row_update", "stock", { n: 3 }), row("row_delete", "shelf", { n: 2 }));
  expect(types(taken)).toEqual([["order_update", "1", 1], ["row_update", "1", 1], ["row_insert", "1", 2], ["row_delete", "1", 1]]);
  expect(taken[2]?.message).toMatchObject({ data: { n: 3 } });
});

it("lets all else pass", () => {
  const conflation = new Conflation();
  for (const type of ["ping", "resumed", "subscribed", "feed_status", "error"]) expect(conflation.add(message(type, 0))).toBe(false);
  expect(conflation.isEmpty).toBe(true);
});

it("preserves the exact sums that a client moves by events, and the number of events, for any changes", () => {
  // A linear congruential generator: the same changes in each run. Its upper bits are the random ones.
  let seed = 1;
  const random = (below: number): number => ((seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0) >>> 16) % below;
  const orders = new Map<number, { total: number; status: string }>();
  const conflation = new Conflation();
  const sums: Record<string, number> = {};
  let received = 0;
  let counted = 0;
  let delivered = 0;
  const flush = (): void => {
    for (const { message: event, count } of conflation.take()) {
      counted += count;
      delivered++;
      const { type, total, status, previous_total, previous_status } = event as unknown as Record<string, string>;
      const before = [previous_status ?? status, Number(previous_total ?? total)] as const;
      if (type !== "new_order") sums[before[0]!] = (sums[before[0]!] ?? 0) - before[1];
      if (type !== "order_delete") sums[status!] = (sums[status!] ?? 0) + Number(total);
    }
  };
  for (let n = 0; n < 5_000; n++) {
    const key = 1 + random(5);
    const order = orders.get(key);
    const [total, status] = [random(100), ["pending", "ready", "cancelled"][random(3)]!];
    if (!order) {
      orders.set(key, { total, status });
      conflation.add(message("new_order", key, { total: String(total), status }));
    } else if (random(10) === 0) {
      orders.delete(key);
      conflation.add(message("order_delete", key, { previous_total: String(order.total), previous_status: order.status }));
    } else {
      const changed = status !== order.status;
      conflation.add(message(changed ? "order_status_update" : "order_update", key, {
        total: String(total), status, ...(changed && { previous_status: order.status }), ...(total !== order.total && { previous_total: String(order.total) }),
      }));
      orders.set(key, { total, status });
    }
    received++;
    if (random(20) === 0) flush();
  }
  flush();
  expect(counted).toBe(received);
  expect(delivered).toBeLessThan(received / 2);
  const expected: Record<string, number> = { pending: 0, ready: 0, cancelled: 0 };
  for (const { total, status } of orders.values()) expected[status]! += total;
  expect(sums).toEqual(expected);
});
