import { expect, test } from "vitest";
import { listStatuses, mainRevenue, otherRevenue } from "../src/state/order-summary.ts";

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

const LISTED = ["sent", "new", "VOID"];

test("lists the statuses of the map first, in its order, also those without orders", () => {
  const counts = new Map([["zz", 2], ["", 1], ["sent", 1], ["aa", 1], ["VOID", 1]]);
  expect(listStatuses(LISTED, counts)).toEqual(["sent", "new", "VOID", "aa", "zz", ""]);
  expect(listStatuses([], new Map())).toEqual([]);
});

test("lists the most frequent ones of very many statuses", () => {
  const counts = new Map(Array.from({ length: 1_000 }, (_, n) => [`s${String(n).padStart(4, "0")}`, n + 1]));
  const listed = listStatuses(LISTED, counts);
  expect(listed).toHaveLength(33);
  expect(listed.slice(3, 5)).toEqual(["s0970", "s0971"]);
});
