import type { OrderStatus } from "@orderwire/client";
import { expect, test } from "vitest";
import { PERIODS } from "../src/periods.ts";
import type { Order } from "../src/state/order-list.ts";
import { countByStatus, timeSeries } from "../src/state/order-summary.ts";

const NOW = Date.parse("2026-01-02T12:34:56Z");

function order(minutesAgo: number, total: string, status: OrderStatus = "pending"): Order {
  const at = NOW - minutesAgo * 60_000;
  return { id: 1, number: "N", customer: "Anna", total, status, createdAt: at, updatedAt: at };
}

test("sums the orders of each column exactly", () => {
  const data = timeSeries([order(0, "0.10"), order(0, "0.20"), order(10, "5.00"), order(59, "7.00"), order(61, "100.00")], "1h", NOW);
  expect(data.times).toHaveLength(60);
  expect(data.orders.at(-1)).toBe(2);
  expect(data.revenue.at(-1)).toBe("0.30");
  expect(data.orders.at(-11)).toBe(1);
  expect(data.ordersTotal).toBe(4);
  expect(data.revenueTotal).toBe("12.30");
});

test("ends with the column that contains the current time", () => {
  for (const period of ["15m", "1h", "24h"] as const) {
    const { times } = timeSeries([], period, NOW);
    const last = (times.at(-1) as number) * 1000;
    expect(last).toBeLessThanOrEqual(NOW);
    expect(last + PERIODS[period].step).toBeGreaterThan(NOW);
  }
});

test("counts a cancelled order without its revenue", () => {
  const data = timeSeries([order(1, "5.00", "cancelled"), order(1, "2.00")], "15m", NOW);
  expect(data.ordersTotal).toBe(2);
  expect(data.revenueTotal).toBe("2.00");
});

test("counts an order from slightly in the future in the last column", () => {
  expect(timeSeries([order(-0.5, "5.00")], "1h", NOW).ordersTotal).toBe(1);
});

test("counts every status, also those without orders", () => {
  expect(countByStatus([order(1, "1", "ready"), order(1, "1", "ready")])).toMatchObject({ ready: 2, pending: 0, cancelled: 0 });
});
