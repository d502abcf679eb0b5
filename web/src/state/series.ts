import type { OrderEvent } from "@orderwire/client";
import type { OrderSums, SeriesResponse } from "../api.ts";
import { DecimalSum } from "../money.ts";
import type { Period } from "../periods.ts";
import { normalizedStatus } from "../status.ts";

/** An order as far as the sums need it. */
export interface Counted {
  /** "" for none. */
  status: string;
  total: string | null;
  /** "" for none. */
  currency: string;
  /** Milliseconds since the Unix epoch; NaN for none, and for a date that JavaScript does not know. */
  createdMs: number;
}

/** What a change takes out of the sums, and what it puts in. */
export interface Movement {
  before: Counted | null;
  after: Counted | null;
}

/** What an event moves (docs/reference/protocol.md, "Sums that stay exact"). Undefined if the event does not tell. */
export function movementOf(event: OrderEvent): Movement | undefined {
  if (event.truncated?.some((name) => name === "total" || name === "previous_total")) return undefined;
  const { created_at, currency } = event;
  const total = event.type === "order_delete" ? event.previous_total : event.total;
  const status = event.type === "order_delete" ? event.previous_status : event.status;
  const after = counted(status, total, currency, created_at);
  if (event.type === "new_order") return { before: null, after };
  if (event.type === "order_delete") return { before: after, after: null };
  const before = counted(
    event.type === "order_status_update" ? event.previous_status : status,
    "previous_total" in event ? event.previous_total : total,
    "previous_currency" in event ? event.previous_currency : currency,
    "previous_created_at" in event ? event.previous_created_at : created_at,
  );
  return { before, after };
}

type Field = string | null | undefined;

function counted(status: Field, total: Field, currency: Field, createdAt: Field): Counted {
  return { status: normalizedStatus(status ?? null), total: total ?? null, currency: currency ?? "", createdMs: Date.parse(createdAt ?? "") };
}

/** Number and revenue of orders with one status. */
class StatusSum {
  orders = 0;
  readonly revenue = new Map<string, DecimalSum>();

  add({ total, currency }: Counted, sign: 1 | -1): void {
    this.orders += sign;
    if (total !== null) this.addRevenue(currency, total, sign);
  }

  addRevenue(currency: string, amount: string, sign: 1 | -1): void {
    let sum = this.revenue.get(currency);
    if (sum === undefined) this.revenue.set(currency, (sum = new DecimalSum()));
    if (sign === 1) sum.add(amount);
    else sum.subtract(amount);
  }
}

/** By status. */
class Sums {
  readonly byStatus = new Map<string, StatusSum>();

  constructor(statuses: Readonly<Record<string, OrderSums>> = {}) {
    for (const [name, { orders, revenue }] of Object.entries(statuses)) {
      const sum = this.#of(normalizedStatus(name));
      sum.orders += orders;
      for (const [currency, amount] of Object.entries(revenue)) sum.addRevenue(currency, amount, 1);
    }
  }

  add(counted: Counted, sign: 1 | -1): void {
    this.#of(counted.status).add(counted, sign);
  }

  #of(status: string): StatusSum {
    let sum = this.byStatus.get(status);
    if (sum === undefined) this.byStatus.set(status, (sum = new StatusSum()));
    return sum;
  }
}

interface Bucket {
  /** Milliseconds since the Unix epoch; `to` is excluded. */
  from: number;
  to: number;
  sums: Sums;
  /** Undefined after a change. */
  column: SeriesColumn | undefined;
}

/** One column of the chart. */
export interface SeriesColumn {
  /** Milliseconds since the Unix epoch; `to` is excluded. */
  readonly from: number;
  readonly to: number;
  readonly orders: number;
  /** A decimal string, of the main currency. Cancelled orders count none. */
  readonly revenue: string;
  readonly otherRevenue: readonly [currency: string, amount: string][];
}

/** The sums at one point of the feed. */
export interface SeriesView {
  readonly period: Period;
  /** An IANA name. */
  readonly timeZone: string;
  /** Oldest first. */
  readonly columns: readonly SeriesColumn[];
  /** The sum of the columns. */
  readonly whole: SeriesColumn;
  /** Number of orders by status, over the whole table, without those that are 0. */
  readonly statuses: ReadonlyMap<string, number>;
  /** False while the sums may be wrong. */
  readonly complete: boolean;
}

/** How revenue is added up. */
export interface RevenueRule {
  /** Statuses whose orders count as orders, without revenue. */
  cancelled: ReadonlySet<string>;
  /** In capital letters. Orders without a currency have this one. */
  mainCurrency: string;
}

/** Sums of orders by time of creation and by status: as the server has counted them, and moved by every event since. */
export class Series {
  readonly period: Period;
  readonly timeZone: string;
  readonly #table: Sums;
  #buckets: Bucket[];
  #rule: RevenueRule | undefined;

  constructor(response: SeriesResponse) {
    this.period = response.period;
    this.timeZone = response.time_zone;
    this.#table = new Sums(response.statuses);
    this.#buckets = response.buckets.map(({ from, to, statuses }) => ({
      from: Date.parse(from),
      to: Date.parse(to),
      sums: new Sums(statuses),
      column: undefined,
    }));
  }

  /** The number of all orders of the table. */
  get orders(): number {
    let orders = 0;
    for (const sum of this.#table.byStatus.values()) orders += sum.orders;
    return orders;
  }

  move({ before, after }: Movement): void {
    if (before !== null) this.#add(before, -1);
    if (after !== null) this.#add(after, 1);
  }

  /** Begins new columns, as wide as the last one, until the last one contains `now`. Returns whether there was one to begin. */
  advance(now: number): boolean {
    const columns = this.#buckets.length;
    for (let begun = 0; begun < columns; begun++) {
      const last = this.#buckets.at(-1) as Bucket;
      if (!(now >= last.to && last.to > last.from)) return begun > 0;
      this.#buckets = [...this.#buckets.slice(1), { from: last.to, to: 2 * last.to - last.from, sums: new Sums(), column: undefined }];
    }
    return columns > 0;
  }

  /** `complete`: whether it is known to be exact. */
  view(rule: RevenueRule, complete = true): SeriesView {
    if (rule !== this.#rule) for (const bucket of this.#buckets) bucket.column = undefined;
    this.#rule = rule;
    const columns = this.#buckets.map((bucket) => (bucket.column ??= columnOf(bucket, rule)));
    const counts = [...this.#table.byStatus].map(([status, { orders }]) => [status, orders] as const);
    return {
      period: this.period,
      timeZone: this.timeZone,
      columns,
      whole: sumOf(columns),
      statuses: new Map(counts.filter(([, orders]) => orders !== 0)),
      complete,
    };
  }

  #add(counted: Counted, sign: 1 | -1): void {
    this.#table.add(counted, sign);
    const last = this.#buckets.at(-1);
    // The server's clock may be ahead of this one: its newest order begins the next column.
    if (last !== undefined && counted.createdMs >= last.to && counted.createdMs < 2 * last.to - last.from) this.advance(counted.createdMs);
    const bucket = this.#bucketOf(counted.createdMs);
    if (bucket === undefined) return;
    bucket.sums.add(counted, sign);
    bucket.column = undefined;
  }

  #bucketOf(createdMs: number): Bucket | undefined {
    let low = 0;
    let high = this.#buckets.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#buckets[middle] as Bucket).to <= createdMs) low = middle + 1;
      else high = middle;
    }
    const bucket = this.#buckets[low];
    return bucket !== undefined && createdMs >= bucket.from ? bucket : undefined; // NaN is in none
  }
}

function columnOf({ from, to, sums }: Bucket, { cancelled, mainCurrency }: RevenueRule): SeriesColumn {
  let orders = 0;
  const main = new DecimalSum();
  const others = new Map<string, DecimalSum>();
  for (const [status, sum] of sums.byStatus) {
    orders += sum.orders;
    if (cancelled.has(status)) continue;
    for (const [currency, amount] of sum.revenue) {
      if (currency === "" || currency.toUpperCase() === mainCurrency) main.add(String(amount));
      else addTo(others, currency, String(amount));
    }
  }
  return { from, to, orders, revenue: String(main), otherRevenue: sortedAmounts(others) };
}

function sumOf(columns: readonly SeriesColumn[]): SeriesColumn {
  let orders = 0;
  const main = new DecimalSum();
  const others = new Map<string, DecimalSum>();
  for (const column of columns) {
    orders += column.orders;
    main.add(column.revenue);
    for (const [currency, amount] of column.otherRevenue) addTo(others, currency, amount);
  }
  return { from: columns[0]?.from ?? NaN, to: columns.at(-1)?.to ?? NaN, orders, revenue: String(main), otherRevenue: sortedAmounts(others) };
}

function addTo(sums: Map<string, DecimalSum>, currency: string, amount: string): void {
  let sum = sums.get(currency);
  if (sum === undefined) sums.set(currency, (sum = new DecimalSum()));
  sum.add(amount);
}

function sortedAmounts(sums: ReadonlyMap<string, DecimalSum>): [string, string][] {
  return [...sums]
    .filter(([, sum]) => !sum.isZero)
    .map(([currency, sum]): [string, string] => [currency, String(sum)])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}
