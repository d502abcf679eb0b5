import type { AnalyticsUpdate } from "@orderwire/client";
import { DecimalSum } from "../money.ts";
import { PERIODS, type Period } from "../periods.ts";
import type { Order } from "./order-list.ts";

/** One array element per column of the chart. */
export interface TimeSeries {
  /** Start of the column, in seconds since the Unix epoch. */
  times: number[];
  orders: number[];
  /** Decimal strings, of the main currency. */
  revenue: string[];
  ordersTotal: number;
  /** A decimal string, of the main currency. */
  revenueTotal: string;
  /** Currency and decimal string. */
  otherRevenue: [string, string][];
}

/** Statuses that the map does not list, beyond which a filter would be no use. */
const MAX_UNLISTED_STATUSES = 30;

/**
 * Orders and revenue by the time of creation. Orders with one of the statuses `cancelled` count as orders, without revenue. `now` is in
 * milliseconds. An order without a currency has the main one.
 */
export function timeSeries(
  orders: readonly Order[],
  period: Period,
  now: number,
  cancelled: ReadonlySet<string>,
  mainCurrency: string,
): TimeSeries {
  const { length, step } = PERIODS[period];
  const columns = length / step;
  const start = (Math.floor(now / step) + 1 - columns) * step;
  const counts = new Array<number>(columns).fill(0);
  const sums = counts.map(() => new DecimalSum());
  const total = new DecimalSum();
  const others = new Map<string, DecimalSum>();
  for (const order of orders) {
    const column = Math.floor((order.createdMs - start) / step);
    // The server's clock may be ahead: an order of the column after the last one counts in the last one.
    const index = column === columns ? columns - 1 : column;
    if (!(index >= 0 && index < columns)) continue; // also for NaN
    counts[index] = (counts[index] as number) + 1;
    if (order.total === null || cancelled.has(order.status)) continue;
    const currency = order.currency ?? mainCurrency;
    if (isSame(currency, mainCurrency)) {
      (sums[index] as DecimalSum).add(order.total);
      total.add(order.total);
    } else {
      const sum = others.get(currency) ?? new DecimalSum();
      others.set(currency, sum);
      sum.add(order.total);
    }
  }
  return {
    times: counts.map((_, index) => (start + index * step) / 1000),
    orders: counts,
    revenue: sums.map(String),
    ordersTotal: counts.reduce((sum, count) => sum + count, 0),
    revenueTotal: String(total),
    otherRevenue: [...others].sort(byText).map(([currency, sum]) => [currency, String(sum)]),
  };
}

/** The server's revenue in the main currency, as a decimal string. */
export function mainRevenue({ total_revenue, revenue_by_currency }: AnalyticsUpdate, mainCurrency: string): string {
  if (revenue_by_currency === undefined) return total_revenue;
  const sum = new DecimalSum();
  for (const [currency, amount] of Object.entries(revenue_by_currency)) if (isSame(currency, mainCurrency)) sum.add(amount);
  return String(sum);
}

/** The server's revenue of the currencies other than the main one: code and decimal string. */
export function otherRevenue(byCurrency: Readonly<Record<string, string>> = {}, mainCurrency: string): [string, string][] {
  return Object.entries(byCurrency).filter(([currency]) => !isSame(currency, mainCurrency)).sort(byText);
}

/** Some tables have small letters in their codes. */
function isSame(currency: string, mainCurrency: string): boolean {
  return currency.toUpperCase() === mainCurrency;
}

function byText([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : 1;
}

export function countByStatus(orders: readonly Order[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { status } of orders) counts.set(status, (counts.get(status) ?? 0) + 1);
  return counts;
}

/**
 * All statuses: those of the table's map in its order, then others that orders have, by name; last "" if there are orders without one.
 */
export function listStatuses(listed: readonly string[], counts: ReadonlyMap<string, number>): string[] {
  const unlisted = [...counts]
    .filter(([status]) => status !== "" && !listed.includes(status))
    .sort(([, a], [, b]) => b - a)
    .slice(0, MAX_UNLISTED_STATUSES)
    .sort(byText)
    .map(([status]) => status);
  return [...listed, ...unlisted, ...(counts.has("") ? [""] : [])];
}
