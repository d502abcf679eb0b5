import { expect, test } from "vitest";
import { countsOf, growth, sumOver } from "../src/state/sums.ts";

const SUMS = {
  pending: { orders: 2, revenue: { PLN: "0.10", EUR: "7.00", "": "0.20" } },
  done: { orders: 1, revenue: { pln: "12345678901234567890.01" } },
  cancelled: { orders: 4, revenue: { PLN: "99.00" } },
};

test("adds orders of all statuses, and revenue in the main currency without cancelled orders, exactly", () => {
  expect(sumOver(SUMS, ["cancelled"], "PLN")).toEqual({ orders: 7, revenue: "12345678901234567890.31" });
  expect(sumOver({}, [], "PLN")).toEqual({ orders: 0, revenue: "0" });
});

test("counts orders by status", () => {
  expect([...countsOf(SUMS)]).toEqual([["pending", 2], ["done", 1], ["cancelled", 4]]);
});

test("compares with what was before, if there was anything", () => {
  expect([growth(5, 4), growth(3, 4), growth(0, 4), growth(5, 0)]).toEqual([0.25, -0.25, -1, null]);
});
