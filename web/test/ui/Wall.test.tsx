import { screen } from "@testing-library/react";
import { expect, test } from "vitest";
import type { SumsByStatus } from "../../src/api.ts";
import Wall from "../../src/ui/wall/Wall.tsx";
import { fakeShop } from "../fake-shop.tsx";

const shop = fakeShop();

const counted = (counts: Record<string, number>): SumsByStatus =>
  Object.fromEntries(Object.entries(counts).map(([status, orders]) => [status, { orders, revenue: {} }]));

test("the counts below today are of today, and what is pending of any day is named so", async () => {
  const compare = { today: counted({ ready: 3 }), yesterday: {}, last_week: {} };
  const statuses = counted({ ready: 500, cancelled: 70 });
  const series = { period: "24h", time_zone: "UTC", buckets: [], statuses, compare, position: "e-s1.1", complete: true };
  Object.assign(shop.current.api, { series: async () => ({ ...series, now: Date.now() }) });
  shop.current.server.greet = (session) => session.send({ type: "analytics_update", total_orders: 570, total_revenue: "0", pending_orders: 40 });
  await shop.open("/wall", <Wall />);
  const count = (name: string) => screen.getByText(name).nextElementSibling?.textContent;
  await screen.findByText("Ready");
  expect([count("Ready"), count("Cancelled"), count("Orders"), count("Pending, of any day")]).toEqual(["3", "0", "3", "40"]);
});
