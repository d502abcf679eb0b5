import type { AnalyticsUpdate, OrderEvent, Resumed, StreamEvent } from "@orderwire/client";
import { beforeEach, expect, test } from "vitest";
import { changesTotalsOf, FeedGate, MAX_HOLD_MS, MAX_RESUME_MS } from "../src/state/feed-gate.ts";

const RESUMED: Resumed = { type: "resumed", recovered: true, replayed: 1 };

function base(id: number) {
  return { id: `e-1-0-${id}`, order_id: id, key: String(id), at: "2026-01-02T03:04:05Z", created_at: null };
}

function created(id: number): OrderEvent {
  return { type: "new_order", ...base(id), customer_name: null, total: "1.00", status: "pending" };
}

function moved(id: number, previous_status: string, status: string, fields: object = {}): OrderEvent {
  return { type: "order_status_update", ...base(id), previous_status, status, total: "1.00", ...fields };
}

function renamed(id: number, fields: object = {}): OrderEvent {
  return { type: "order_update", ...base(id), customer_name: "Bo", total: "1.00", status: "pending", ...fields };
}

function totals(total_orders: number): AnalyticsUpdate {
  return { type: "analytics_update", total_orders, total_revenue: "0", pending_orders: 0 };
}

const changesTotals = changesTotalsOf(["pending"], ["cancelled"]);
let gate: FeedGate;

beforeEach(() => {
  gate = new FeedGate(changesTotals);
});

test.each<[string, OrderEvent, boolean]>([
  ["a new order", created(1), true],
  ["a deleted order", { type: "order_delete", ...base(1) }, true],
  ["a pending order that is confirmed", moved(1, "pending", "confirmed"), true],
  ["an order that is cancelled", moved(1, "ready", "cancelled"), true],
  ["a step between two statuses that count the same", moved(1, "confirmed", "ready"), false],
  ["such a step with another total", moved(1, "confirmed", "ready", { previous_total: "2.00" }), true],
  ["another name", renamed(1), false],
  ["another total", renamed(1, { previous_total: "2.00" }), true],
  ["another currency", renamed(1, { previous_currency: "EUR" }), true],
  ["an event that was cut", renamed(1, { truncated: ["total"] }), true],
])("%s may change the totals: %#", (_, event, expected) => {
  expect(changesTotals(event)).toBe(expected);
});

test("holds an event that changes the totals until they come, and what follows it, in order", () => {
  expect(gate.receive(created(1), 0)).toBeNull();
  expect(gate.receive(renamed(1), 1)).toBeNull();
  expect(gate.isEmpty).toBe(false);
  expect(gate.receive(totals(1), 2)).toEqual({ events: [created(1), renamed(1)], totals: totals(1) });
  expect(gate.isEmpty).toBe(true);
});

test("lets an event through at once that changes no total, while nothing is held", () => {
  expect(gate.receive(renamed(1), 0)).toEqual({ events: [renamed(1)], totals: null });
  const row: StreamEvent = { type: "row_insert", id: "e-1-0-2", stream: "stock", key: "1", at: "2026-01-02T03:04:05Z" };
  expect(gate.receive(row, 0)).toEqual({ events: [row], totals: null });
});

test("has to be released when the totals do not come, as after two changes that cancel each other out", () => {
  expect(gate.deadline).toBe(Infinity);
  gate.receive(created(1), 1_000);
  gate.receive(created(2), 1_100);
  expect(gate.deadline).toBe(1_000 + MAX_HOLD_MS);
  expect(gate.release()).toEqual({ events: [created(1), created(2)], totals: null });
  expect(gate.deadline).toBe(Infinity);
});

test("shows nothing of a resume before the totals at its end: the first ones are ahead of the events", () => {
  gate.connected(true, 0);
  expect(gate.receive(totals(2), 1)).toBeNull();
  expect(gate.deadline).toBe(MAX_RESUME_MS);
  expect(gate.receive(RESUMED, 2)).toBeNull();
  expect(gate.receive(renamed(1), 3)).toBeNull();
  expect(gate.receive(created(2), 200)).toBeNull();
  expect(gate.deadline).toBe(200 + MAX_HOLD_MS);
  expect(gate.receive(totals(2), 201)).toEqual({ events: [renamed(1), created(2)], totals: totals(2) });
  expect(gate.receive(renamed(2), 202)).toEqual({ events: [renamed(2)], totals: null });
});

test("shows the first totals of a connection that resumes nothing", () => {
  gate.connected(false, 0);
  expect(gate.receive(totals(2), 1)).toEqual({ events: [], totals: totals(2) });
});

test("shows the first totals of a resume that gets no answer after a while", () => {
  gate.connected(true, 0);
  gate.receive(totals(2), 1);
  expect(gate.release()).toEqual({ events: [], totals: totals(2) });
});
