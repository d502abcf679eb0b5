import type { OrderStatus } from "@orderwire/client";
import { fromCents, toCents } from "../money.ts";
import { PERIODS, type Period } from "../periods.ts";
import type { Order } from "./order-list.ts";

export const ORDER_STATUSES = ["pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled"] as const;

/** One array element per column of the chart. */
export interface TimeSeries {
  /** Start of the column, in seconds since the Unix epoch. */
  times: number[];
  orders: number[];
  /** Decimal strings. */
  revenue: string[];
  ordersTotal: number;
  /** A decimal string. */
  revenueTotal: string;
}

/** Orders and revenue by the time of creation. Cancelled orders count as orders, without revenue. `now` is in milliseconds. */
export function timeSeries(orders: readonly Order[], period: Period, now: number): TimeSeries {
  const { length, step } = PERIODS[period];
  const columns = length / step;
  const start = (Math.floor(now / step) + 1 - columns) * step;
  const counts = new Array<number>(columns).fill(0);
  const cents = new Array<bigint>(columns).fill(0n);
  for (const order of orders) {
    const column = Math.floor((order.createdAt - start) / step);
    // The server's clock may be ahead: an order of the column after the last one counts in the last one.
    const index = column === columns ? columns - 1 : column;
    if (index < 0 || index >= columns) continue;
    counts[index] = (counts[index] as number) + 1;
    if (order.status !== "cancelled") cents[index] = (cents[index] as bigint) + toCents(order.total);
  }
  return {
    times: counts.map((_, index) => (start + index * step) / 1000),
    orders: counts,
    revenue: cents.map(fromCents),
    ordersTotal: counts.reduce((sum, count) => sum + count, 0),
    revenueTotal: fromCents(cents.reduce((sum, amount) => sum + amount, 0n)),
  };
}

export function countByStatus(orders: readonly Order[]): Record<OrderStatus, number> {
  const counts = Object.fromEntries(ORDER_STATUSES.map((status) => [status, 0])) as Record<OrderStatus, number>;
  for (const order of orders) counts[order.status]++;
  return counts;
}
