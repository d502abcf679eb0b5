import { expect, test } from "vitest";
import { translations } from "../src/i18n.ts";

test.each([
  [21, "21 новый заказ", "21 new orders", "21 nowych zamówień"],
  [3, "3 новых заказа", "3 new orders", "3 nowe zamówienia"],
  [11, "11 новых заказов", "11 new orders", "11 nowych zamówień"],
  [10_000, "10 000 новых заказов", "10,000 new orders", "10 000 nowych zamówień"],
])("%i new orders", (count, ru, en, pl) => {
  expect(translations("ru").newOrders(count).replace(/\s/g, " ")).toBe(ru);
  expect(translations("en").newOrders(count)).toBe(en);
  expect(translations("pl").newOrders(count).replace(/\s/g, " ")).toBe(pl);
});

test("an English count of orders has a singular", () => {
  expect([1, 2].map((n) => translations("en").foundOrders(n))).toEqual(["1 order", "2 orders"]);
});
