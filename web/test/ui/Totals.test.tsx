import { screen } from "@testing-library/react";
import { expect, test } from "vitest";
import { Totals } from "../../src/ui/Totals.tsx";
import { setPreferences } from "../../src/preferences.ts";
import { fakeShop } from "../fake-shop.tsx";

const shop = fakeShop();

/** The texts of the three totals, each with its hint. */
const shown = (): string[] => screen.getAllByRole("definition").map(({ textContent }) => textContent.replace(/\s/g, " "));

test("shows a dash for each total until the first ones have come", async () => {
  shop.current.server.greet = () => {};
  await shop.open("", <Totals />);
  expect(shown()).toEqual(["–", "–", "–"]);
});

test("shows the totals of the server, and how many orders are pending", async () => {
  shop.current.server.greet = (session) => session.send({ type: "analytics_update", total_orders: 1200, total_revenue: "1234.50", pending_orders: 300 });
  await shop.open("", <Totals />);
  await screen.findByText("1,200");
  expect(shown()).toEqual(["1,200", "zł 1,234.50", "30025% of all orders"]);
});

test.each([
  ["ru", "Заказов"],
  ["pl", "Zamówienia"],
] as const)("has texts of the language %s", async (language, label) => {
  setPreferences({ language });
  await shop.open("", <Totals />);
  expect(await screen.findByText(label)).toBeTruthy();
});

test("shows other currencies than the main one below the revenue", async () => {
  shop.current.server.greet = (session) =>
    session.send({ type: "analytics_update", total_orders: 3, total_revenue: "1.00", pending_orders: 0, revenue_by_currency: { PLN: "1.00", EUR: "2.50" } });
  await shop.open("", <Totals />);
  expect(await screen.findByText("€2.50")).toBeTruthy();
});
