import type { NewOrder } from "@orderwire/client";
import { expect, test } from "vitest";
import { Toaster } from "../src/state/toaster.ts";

function order(number: number): NewOrder {
  return { type: "new_order", id: `e-1-${number}`, order_id: number, key: String(number), order_number: `N${number}`, customer_name: "Anna", total: "1.00", status: "pending", at: "2026-01-02T03:04:05Z" };
}

function shown(toaster: Toaster): [count: number, newest: string | null | undefined][] {
  return toaster.toasts.map((toast) => [toast.count, toast.order.order_number]);
}

test("joins orders that come soon after another, with the newest one and their number", () => {
  const toaster = new Toaster();
  for (let number = 1; number <= 500; number++) toaster.add(order(number), number);
  expect(shown(toaster)).toEqual([[500, "N500"]]);
});

test("replaces the toast after a pause: there is never more than one", () => {
  const toaster = new Toaster();
  toaster.add(order(1), 0);
  toaster.add(order(2), 1_499);
  toaster.add(order(3), 2_999);
  expect(shown(toaster)).toEqual([[1, "N3"]]);
});

test("expires, later if it was extended", () => {
  const toaster = new Toaster();
  toaster.add(order(1), 0);
  expect(toaster.expire(5_999)).toBe(false);
  toaster.extend(5_999);
  expect(toaster.expire(6_001)).toBe(false);
  expect(toaster.expire(12_000)).toBe(true);
  expect(toaster.toasts).toEqual([]);
});

test("begins a new toast after half a minute, also while orders keep coming", () => {
  const toaster = new Toaster();
  for (let number = 0; number <= 30; number++) toaster.add(order(number), number * 1_000);
  expect(shown(toaster)).toEqual([[1, "N30"]]);
});

test("dismisses a toast", () => {
  const toaster = new Toaster();
  toaster.add(order(1), 0);
  toaster.dismiss(toaster.toasts[0]?.key ?? 0);
  expect(toaster.toasts).toEqual([]);
});
