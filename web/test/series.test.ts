import type { OrderEvent } from "@orderwire/client";
import { expect, test } from "vitest";
import type { SeriesResponse, SumsByStatus } from "../src/api.ts";
import { movementOf, Series, type RevenueRule } from "../src/state/series.ts";

const RULE: RevenueRule = { cancelled: new Set(["cancelled"]), mainCurrency: "PLN" };
const START = Date.parse("2026-01-02T12:00:00Z");
const STEP = 60_000;
const COLUMNS = 5;
const END = START + COLUMNS * STEP;

/** A row of the table. */
interface Row {
  status: string | null;
  total: string | null;
  currency: string | null;
  createdAt: string | null;
}

/** Counts the rows as the server does: cancelled orders have no revenue, sums of 0 no entry. */
function sumsOf(rows: readonly Row[]): SumsByStatus {
  const cents = new Map<string, Map<string, number>>();
  const counts = new Map<string, number>();
  for (const { status, total, currency } of rows) {
    const name = status ?? "";
    counts.set(name, (counts.get(name) ?? 0) + 1);
    const sums = cents.get(name) ?? new Map<string, number>();
    cents.set(name, sums);
    if (name !== "cancelled") sums.set(currency ?? "", (sums.get(currency ?? "") ?? 0) + Math.round(Number(total ?? 0) * 100));
  }
  return Object.fromEntries(
    [...counts].map(([name, orders]) => {
      const revenue = [...(cents.get(name) ?? [])].filter(([, amount]) => amount !== 0).map(([currency, amount]) => [currency, (amount / 100).toFixed(2)]);
      return [name, { orders, revenue: Object.fromEntries(revenue) as Record<string, string> }];
    }),
  );
}

function response(rows: readonly Row[], end = END): SeriesResponse {
  const buckets = Array.from({ length: COLUMNS }, (_, index) => {
    const [from, to] = [end - (COLUMNS - index) * STEP, end - (COLUMNS - index - 1) * STEP];
    const inside = rows.filter(({ createdAt }) => createdAt !== null && Date.parse(createdAt) >= from && Date.parse(createdAt) < to);
    return { from: new Date(from).toISOString(), to: new Date(to).toISOString(), statuses: sumsOf(inside) };
  });
  return { period: "1h", time_zone: "UTC", buckets, statuses: sumsOf(rows), position: "e-s1.1", complete: true };
}

/** The view without what depends on how often a sum was moved: zeros after the point. */
function comparable(series: Series) {
  const { columns, whole, statuses } = series.view(RULE);
  const plain = (column: typeof whole) => ({
    ...column,
    revenue: Number(column.revenue).toFixed(2),
    otherRevenue: column.otherRevenue.map(([currency, amount]) => [currency, Number(amount).toFixed(2)]),
  });
  return { columns: columns.map(plain), whole: plain(whole), statuses: Object.fromEntries([...statuses].sort()) };
}

/** The event of a change, as docs/reference/protocol.md has it. */
function eventOf(n: number, before: Row | null, after: Row | null): OrderEvent {
  const base = { id: `e-${n}-0-${n}`, order_id: 1, key: "1", at: "2026-01-02T12:00:00Z" };
  if (after === null) {
    const was = before as Row;
    return { type: "order_delete", ...base, previous_status: was.status, previous_total: was.total, currency: was.currency, created_at: was.createdAt };
  }
  const now = { ...base, status: after.status, total: after.total, currency: after.currency, created_at: after.createdAt };
  if (before === null) return { type: "new_order", ...now, customer_name: null };
  const previous = {
    ...(before.total !== after.total && { previous_total: before.total }),
    ...(before.currency !== after.currency && { previous_currency: before.currency }),
    ...(before.createdAt !== after.createdAt && { previous_created_at: before.createdAt }),
  };
  if (before.status === after.status) return { type: "order_update", ...now, ...previous };
  return { type: "order_status_update", ...now, ...previous, previous_status: before.status };
}

/** Deterministic pseudo-random numbers from 0 to below 1 (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

test.each([1, 2, 3, 4, 5, 6, 7, 8])("moved by random changes it equals what the server would count (seed %i)", (seed) => {
  const random = randomOf(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const randomRow = (): Row => ({
    status: pick(["pending", "ready", "cancelled", "", null, "other"]) || null,
    total: pick(["0.10", "0.20", "19.99", "1000.05", null]),
    currency: pick(["PLN", "pln", "EUR", "USD", null]),
    createdAt: pick([null, "10000-01-01T00:00:00Z", new Date(START - STEP + Math.floor(random() * (COLUMNS + 1) * STEP)).toISOString()]),
  });
  const rows = new Map(Array.from({ length: 20 }, (_, key) => [key, randomRow()]));
  const series = new Series(response([...rows.values()]));
  for (let n = 0; n < 400; n++) {
    const key = Math.floor(random() * 40);
    const before = rows.get(key) ?? null;
    const after = before !== null && random() < 0.2 ? null : { ...(before ?? {}), ...pickFields(randomRow(), before === null, random) };
    if (after === null) rows.delete(key);
    else rows.set(key, after as Row);
    series.move(movementOf(eventOf(n, before, after as Row | null))!);
  }
  expect(comparable(series)).toEqual(comparable(new Series(response([...rows.values()]))));
  expect(series.orders).toBe(rows.size);
});

/** All fields of a row, or some. */
function pickFields(row: Row, all: boolean, random: () => number): Partial<Row> {
  return Object.fromEntries(Object.entries(row).filter(() => all || random() < 0.4));
}

test("begins a column when the last one ends, and drops the oldest", () => {
  const at = (ms: number): Row => ({ status: "ready", total: "1.00", currency: null, createdAt: new Date(ms).toISOString() });
  const rows = [at(START), at(START + STEP), at(END - 1)];
  const series = new Series(response(rows));
  expect(series.advance(END - 1)).toBe(false);
  expect(series.advance(END)).toBe(true);
  const late = at(END + 5);
  series.move(movementOf(eventOf(1, null, late))!);
  expect(comparable(series)).toEqual(comparable(new Series(response([...rows, late], END + STEP))));
  expect(series.advance(END + 10 * STEP)).toBe(true);
  expect(series.view(RULE).whole.orders).toBe(0);
  expect(series.orders).toBe(4);
});

test("an order of the server's next minute begins its column, though this clock is behind", () => {
  const series = new Series(response([]));
  series.move(movementOf(eventOf(1, null, { status: null, total: "1.00", currency: null, createdAt: new Date(END + 1).toISOString() }))!);
  expect(series.view(RULE).columns.at(-1)).toMatchObject({ from: END, orders: 1, revenue: "1.00" });
});

test("does not recompute the columns that have not changed", () => {
  const series = new Series(response([]));
  const before = series.view(RULE).columns;
  series.move(movementOf(eventOf(1, null, { status: null, total: "1.00", currency: null, createdAt: new Date(START).toISOString() }))!);
  const after = series.view(RULE).columns;
  expect(after.map((column, index) => column === before[index])).toEqual([false, true, true, true, true]);
});

test("an event that does not tell the totals has no movement", () => {
  const row: Row = { status: "ready", total: "1.00", currency: null, createdAt: null };
  expect(movementOf({ ...eventOf(1, row, { ...row, total: "2.00" }), truncated: ["previous_total"] })).toBeUndefined();
  expect(movementOf({ ...eventOf(1, row, row), truncated: ["status"] })).toBeDefined();
});
