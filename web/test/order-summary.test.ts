import { expect, test } from "vitest";
import { PERIODS, type Period } from "../src/periods.ts";
import { toOrder, type Order } from "../src/state/order-list.ts";
import { countByStatus, listStatuses, mainRevenue, otherRevenue, timeSeries as computeTimeSeries } from "../src/state/order-summary.ts";

const NOW = Date.parse("2026-01-02T12:34:56Z");

function order(minutesAgo: number, total: string | null, fields: Partial<Order> = {}): Order {
  const at = new Date(NOW - minutesAgo * 60_000).toISOString();
  const row = { id: 1, key: "1", order_number: "N", customer_name: "Anna", total, status: "pending", created_at: at };
  return { ...toOrder(row, 1), ...fields };
}

function timeSeries(orders: readonly Order[], period: Period, now: number) {
  return computeTimeSeries(orders, period, now, new Set(["cancelled", "VOID"]), "PLN");
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

test("counts cancelled orders, whatever the map calls them, and those without a total, without revenue", () => {
  const data = timeSeries([order(1, "5.00", { status: "cancelled" }), order(1, "4.00", { status: "VOID" }), order(1, null), order(1, "2.00")], "15m", NOW);
  expect(data.ordersTotal).toBe(4);
  expect(data.revenueTotal).toBe("2.00");
});

test("adds no amounts of different currencies", () => {
  const orders = [order(1, "5.00", { currency: "pln" }), order(1, "2.00"), order(1, "1.250", { currency: "KWD" }), order(2, "300", { currency: "JPY" }), order(3, "0.005", { currency: "KWD" })];
  const data = timeSeries(orders, "15m", NOW);
  expect([data.ordersTotal, data.revenueTotal, data.otherRevenue]).toEqual([5, "7.00", [["JPY", "300"], ["KWD", "1.255"]]]);
  expect(data.revenue.filter((amount) => Number(amount) > 0)).toEqual(["7.00"]);
});

test("shows the revenue of the currencies beside the main one", () => {
  expect(otherRevenue({ usd: "1.00", PLN: "2.00", EUR: "3.00" }, "PLN")).toEqual([["EUR", "3.00"], ["usd", "1.00"]]);
  expect(otherRevenue(undefined, "PLN")).toEqual([]);
});

test("shows the total revenue, or that in the main currency, however the table spells it", () => {
  const totals = { type: "analytics_update", total_orders: 1, total_revenue: "5.00", pending_orders: 0 } as const;
  expect(mainRevenue(totals, "PLN")).toBe("5.00");
  expect(mainRevenue({ ...totals, total_revenue: "0", revenue_by_currency: { pln: "2.50", PLN: "1", EUR: "7" } }, "PLN")).toBe("3.50");
  expect(mainRevenue({ ...totals, total_revenue: "0", revenue_by_currency: { EUR: "7" } }, "PLN")).toBe("0");
});

test("leaves out orders without a time, or with one that JavaScript does not know", () => {
  const dateless = ["10000-01-01T00:00:00Z", null].map((at) => order(0, "5.00", { createdAt: at, createdMs: Date.parse(at ?? "") }));
  expect(timeSeries(dateless, "1h", NOW)).toMatchObject({ ordersTotal: 0, revenueTotal: "0" });
});

test("counts an order from slightly in the future in the last column", () => {
  expect(timeSeries([order(-0.5, "5.00")], "1h", NOW).ordersTotal).toBe(1);
});

const LISTED = ["sent", "new", "VOID"];

test("counts every status, and lists those of the map first, in its order, also those without orders", () => {
  const counts = countByStatus(["zz", "", "sent", "aa", "zz", "VOID"].map((status) => order(1, "1", { status })));
  expect(Object.fromEntries(counts)).toEqual({ "zz": 2, "": 1, "sent": 1, "aa": 1, "VOID": 1 });
  expect(listStatuses(LISTED, counts)).toEqual(["sent", "new", "VOID", "aa", "zz", ""]);
  expect(listStatuses([], new Map())).toEqual([]);
});

test("lists the most frequent ones of very many statuses", () => {
  const counts = new Map(Array.from({ length: 1_000 }, (_, n) => [`s${String(n).padStart(4, "0")}`, n + 1]));
  const listed = listStatuses(LISTED, counts);
  expect(listed).toHaveLength(33);
  expect(listed.slice(3, 5)).toEqual(["s0970", "s0971"]);
});
