import type { SumsByStatus } from "../api.ts";
import { DecimalSum } from "../money.ts";

export interface RevenueSum {
  readonly orders: number;
  /** A decimal string, of the main currency. */
  readonly revenue: string;
}

/**
 * The number of orders, and the revenue in the main currency, over all statuses. Orders with one of the statuses `cancelled` count as
 * orders, without revenue. An amount without a currency is in the main one.
 */
export function sumOver(sums: SumsByStatus, cancelled: readonly string[], mainCurrency: string): RevenueSum {
  let count = 0;
  const total = new DecimalSum();
  for (const [status, { orders, revenue }] of Object.entries(sums)) {
    count += orders;
    if (cancelled.includes(status)) continue;
    for (const [currency, amount] of Object.entries(revenue))
      if (currency === "" || currency.toUpperCase() === mainCurrency) total.add(amount);
  }
  return { orders: count, revenue: String(total) };
}

/** The number of orders by status, without those that have none. */
export function countsOf(sums: SumsByStatus): ReadonlyMap<string, number> {
  return new Map(Object.entries(sums).map(([status, { orders }]) => [status, orders]));
}

/** By how much `now` exceeds `before`, as a ratio: 0.25 for a quarter more. Null if there is nothing to compare with. */
export function growth(now: number, before: number): number | null {
  return before === 0 ? null : now / before - 1;
}
