import type { NewOrder } from "@orderwire/client";
import { expect, test } from "vitest";
import { Toaster } from "../src/state/toaster.ts";

function order(number: number): NewOrder {
  return { type: "new_order", id: `e-1-${number}`, order_id: number, key: String(number), order_number: `N${number}`, customer_name: "Anna", total: "1.00", status: "pending", at: "2026-01-02T03:04:05Z" };
}

function counts(toaster: Toaster): number[] {
  return toaster.toasts.map((toast) => toast.count);
}

test("shows a toast for each of a few orders", () => {
  const toaster = new Toaster();
  for (const number of [1, 2, 3]) toaster.add(order(number), number * 10);
  expect(counts(toaster)).toEqual([1, 1, 1]);
});

test("merges many orders into one toast with the newest one and their number", () => {
  const toaster = new Toaster();
  for (let number = 1; number <= 500; number++) toaster.add(order(number), number);
  expect(counts(toaster)).toEqual([500]);
  expect(toaster.toasts[0]?.order.order_number).toBe("N500");
});

test("shows single toasts again after a pause", () => {
  const toaster = new Toaster();
  for (let number = 1; number <= 10; number++) toaster.add(order(number), number);
  toaster.add(order(11), 3_000);
  expect(counts(toaster)).toEqual([10, 1]);
});

test("expires toasts, later if they were extended", () => {
  const toaster = new Toaster();
  toaster.add(order(1), 0);
  expect(toaster.expire(5_999)).toBe(false);
  toaster.extend(5_999);
  expect(toaster.expire(6_001)).toBe(false);
  expect(toaster.expire(12_000)).toBe(true);
  expect(toaster.toasts).toEqual([]);
});

test.each([100, 300, 600, 1000])("shows at most four toasts for an order every %i ms", (everyMs) => {
  const toaster = new Toaster();
  for (let number = 1; number <= 100; number++) {
    toaster.add(order(number), number * everyMs);
    expect(toaster.toasts.length).toBeLessThanOrEqual(4);
  }
});

test("dismisses a toast", () => {
  const toaster = new Toaster();
  toaster.add(order(1), 0);
  toaster.add(order(2), 1);
  toaster.dismiss(toaster.toasts[0]?.key ?? 0);
  expect(toaster.toasts.map((toast) => toast.order.order_number)).toEqual(["N2"]);
});
