import type { OrderStatus } from "@orderwire/client";
import { fromCents, toCents } from "../money.ts";
import type { Order } from "./order-book.ts";

export const STATUSES = ["pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled"] as const;

/** What the charts can show: how far back, and how wide one column is. */
export const PERIODS = {
  "15m": { length: 15 * 60_000, step: 15_000 },
  "1h": { length: 60 * 60_000, step: 60_000 },
  "24h": { length: 24 * 3_600_000, step: 30 * 60_000 },
} as const;

export type Period = keyof typeof PERIODS;

export interface Series {
  /** Seconds, as of the Unix epoch: where each column begins. */
  times: number[];
  orders: number[];
  /** Exact, column by column. */
  revenue: string[];
  ordersTotal: number;
  /** Exact, without what was cancelled. */
  revenueTotal: string;
}

/** Orders and revenue over time, by when the order was made. Cancelled orders count as orders, and bring nothing. */
export function series(orders: readonly Order[], period: Period, now: number): Series {
  const { length, step } = PERIODS[period];
  const columns = length / step;
  const start = (Math.floor(now / step) + 1 - columns) * step;
  const counts = new Array<number>(columns).fill(0);
  const cents = new Array<bigint>(columns).fill(0n);
  for (const order of orders) {
    const column = Math.floor((order.createdAt - start) / step);
    // A clock that is ahead of ours by a little must not lose an order.
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
  const counts = Object.fromEntries(STATUSES.map((status) => [status, 0])) as Record<OrderStatus, number>;
  for (const order of orders) counts[order.status]++;
  return counts;
}
