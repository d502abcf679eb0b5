import type { OrderStatus } from "@orderwire/client";
import { expect, test } from "vitest";
import type { Order } from "../src/state/order-book.ts";
import { countByStatus, PERIODS, series } from "../src/state/summary.ts";

const NOW = Date.parse("2026-01-02T12:34:56Z");

function order(minutesAgo: number, total: string, status: OrderStatus = "pending"): Order {
  const at = NOW - minutesAgo * 60_000;
  return { id: 1, number: "N", customer: "Anna", total, status, createdAt: at, updatedAt: at };
}

test("columns hold what was made in their time, and sums are exact", () => {
  const data = series([order(0, "0.10"), order(0, "0.20"), order(10, "5.00"), order(59, "7.00"), order(61, "100.00")], "1h", NOW);
  expect(data.times).toHaveLength(60);
  expect(data.orders.at(-1)).toBe(2);
  expect(data.revenue.at(-1)).toBe("0.30");
  expect(data.orders.at(-11)).toBe(1);
  expect(data.ordersTotal).toBe(4);
  expect(data.revenueTotal).toBe("12.30");
});

test("the last column is the one of now", () => {
  for (const period of ["15m", "1h", "24h"] as const) {
    const { times } = series([], period, NOW);
    const last = (times.at(-1) as number) * 1000;
    expect(last).toBeLessThanOrEqual(NOW);
    expect(last + PERIODS[period].step).toBeGreaterThan(NOW);
  }
});

test("a cancelled order counts and brings nothing", () => {
  const data = series([order(1, "5.00", "cancelled"), order(1, "2.00")], "15m", NOW);
  expect(data.ordersTotal).toBe(2);
  expect(data.revenueTotal).toBe("2.00");
});

test("an order of a clock that is a little ahead is not lost", () => {
  expect(series([order(-0.5, "5.00")], "1h", NOW).ordersTotal).toBe(1);
});

test("every status has a count", () => {
  expect(countByStatus([order(1, "1", "ready"), order(1, "1", "ready")])).toMatchObject({ ready: 2, pending: 0, cancelled: 0 });
});
