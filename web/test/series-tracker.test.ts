import type { AnalyticsUpdate, NewOrder } from "@orderwire/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiError, type SeriesResponse } from "../src/api.ts";
import type { Period } from "../src/periods.ts";
import { SeriesTracker } from "../src/state/series-tracker.ts";

const RULE = { cancelled: new Set<string>(), mainCurrency: "PLN" };
const NOW = Date.parse("2026-01-02T12:00:30Z");

/** A server whose table has orders of one transaction each; a response is as of all transactions below `counted`. */
let counted: number;
/** By the server's clock, in milliseconds after NOW. */
let serverTime: number;
let counting: boolean;
let requests: { period: Period; answer: () => Promise<void>; fail: () => Promise<void> }[];
let tracker: SeriesTracker;

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
  [counted, serverTime, counting, requests] = [1, 0, false, []];
  const series = (period: Period) =>
    new Promise<SeriesResponse & { now: number }>((resolve, reject) => {
      const settled = () => vi.advanceTimersByTimeAsync(0);
      requests.push({
        period,
        answer: async () => (resolve(respond(period)), void (await settled())),
        fail: async () => (reject(new ApiError(503)), void (await settled())),
      });
    });
  tracker = new SeriesTracker({ series }, "1h", () => tracker.settle(known, Date.now()));
});
afterEach(() => void vi.useRealTimers());

function respond(period: Period): SeriesResponse & { now: number } {
  const now = NOW + serverTime;
  const minute = Math.floor(now / 60_000) * 60_000;
  const sums = { ready: { orders: counted - 1, revenue: { "": `${counted - 1}.00` } } };
  return {
    period,
    time_zone: "UTC",
    buckets: counting ? [] : [{ from: new Date(minute).toISOString(), to: new Date(minute + 60_000).toISOString(), statuses: sums }],
    statuses: counting ? {} : sums,
    position: counting ? null : `e-s${counted}.${counted}`,
    complete: !counting,
    now,
  };
}

function created(transaction: number): NewOrder {
  const at = new Date(NOW + serverTime).toISOString();
  return { type: "new_order", id: `e-${transaction}-0-${transaction}`, order_id: transaction, key: String(transaction), customer_name: null, total: "1.00", status: "ready", at, created_at: at };
}

/** The totals after the last event that was applied. */
let known: AnalyticsUpdate | null = null;

function totals(total_orders: number): AnalyticsUpdate {
  return (known = { type: "analytics_update", total_orders, total_revenue: "0", pending_orders: 0 });
}

function apply(...transactions: number[]): void {
  for (const transaction of transactions) tracker.apply(created(transaction), Date.now());
}

function shown() {
  const view = tracker.view(RULE, Date.now());
  return view && { orders: view.whole.orders, revenue: view.whole.revenue, table: view.statuses.get("ready") ?? 0, complete: view.complete };
}

/** Half a second after another, as the store does. */
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 500) {
    await vi.advanceTimersByTimeAsync(500);
    tracker.tick(Date.now());
    if (tracker.isWaiting) tracker.settle(known, Date.now());
  }
}

test("adds each event once, whether it comes before, during or after the request", async () => {
  totals(0);
  tracker.start();
  apply(1); // part of the response
  counted = 3;
  apply(2); // too
  apply(3); // not
  totals(3);
  await requests[0]?.answer();
  expect(shown()).toEqual({ orders: 3, revenue: "3.00", table: 3, complete: true });
  apply(4);
  tracker.settle(totals(4), Date.now());
  expect(shown()).toMatchObject({ table: 4, complete: true });
});

test("does not show a response that is ahead of the events before these have come", async () => {
  totals(0);
  tracker.start();
  counted = 3; // two orders, whose events are on their way
  await requests[0]?.answer();
  expect(shown()).toBeNull();
  apply(1);
  tracker.settle(totals(1), Date.now());
  expect(shown()).toBeNull();
  apply(2);
  tracker.settle(totals(2), Date.now());
  expect(shown()).toMatchObject({ table: 2, complete: true });
});

test("shows a response that disagrees with the totals after a second, says so, and asks again", async () => {
  totals(7);
  tracker.start();
  await requests[0]?.answer();
  await pass(1_000);
  expect(shown()).toMatchObject({ table: 0 });
  await pass(1_500);
  expect(shown()).toMatchObject({ complete: false });
  counted = 8;
  await pass(5_000);
  await requests[1]?.answer();
  expect(shown()).toMatchObject({ table: 7, complete: true });
  await pass(20_000);
  expect(requests).toHaveLength(2);
});

test("asks every second while the server is counting", async () => {
  totals(0);
  counting = true;
  tracker.start();
  await requests[0]?.answer();
  expect([tracker.problem, shown()]).toEqual(["counting", null]);
  await pass(1_000);
  counting = false;
  await requests[1]?.answer();
  expect([tracker.problem, shown()?.complete]).toEqual([null, true]);
});

test("keeps what it has when a request fails, and repeats it", async () => {
  totals(0);
  tracker.start();
  await requests[0]?.fail();
  expect(tracker.problem).toBe("failed");
  await pass(3_000);
  await requests[1]?.answer();
  expect([tracker.problem, shown()?.table]).toEqual([null, 0]);
});

test("begins a column when its time comes, shows the events in it, and asks for the rest", async () => {
  totals(0);
  tracker.start();
  await requests[0]?.answer();
  apply(1);
  tracker.settle(totals(1), Date.now());
  await pass(29_500);
  expect(requests).toHaveLength(1);
  serverTime = 30_000;
  await pass(500);
  expect(requests).toHaveLength(2);
  expect(shown()).toMatchObject({ orders: 0, table: 1 });
  apply(2);
  tracker.settle(totals(2), Date.now());
  expect(shown()).toMatchObject({ orders: 1, table: 2, complete: true });
});

test("follows the server's clock, not that of a computer that is an hour ahead", async () => {
  totals(0);
  serverTime = -3_600_000;
  tracker.start();
  await requests[0]?.answer();
  await pass(20_000);
  expect(requests).toHaveLength(1);
});

test("asks anew after a gap, and says until then that the sums may be wrong", async () => {
  totals(0);
  tracker.start();
  await requests[0]?.answer();
  tracker.gap();
  expect(shown()).toMatchObject({ complete: false });
  counted = 10;
  totals(9);
  await requests[1]?.answer();
  expect(shown()).toMatchObject({ table: 9, complete: true });
});

test("asks anew when an event does not tell what it moves", async () => {
  totals(0);
  tracker.start();
  await requests[0]?.answer();
  tracker.apply({ ...created(1), truncated: ["total"] }, Date.now());
  tracker.settle(totals(1), Date.now());
  await pass(6_000);
  expect(shown()).toMatchObject({ complete: false });
  counted = 2;
  await requests[1]?.answer();
  expect(shown()).toMatchObject({ table: 1, complete: true });
});

test("ignores the response for a period that is no longer chosen", async () => {
  totals(0);
  tracker.start();
  tracker.showPeriod("7d");
  expect(requests.map(({ period }) => period)).toEqual(["1h", "7d"]);
  await requests[1]?.answer();
  await requests[0]?.answer();
  expect(tracker.view(RULE, NOW)?.period).toBe("7d");
});
