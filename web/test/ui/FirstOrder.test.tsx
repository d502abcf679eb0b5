import { fireEvent, screen } from "@testing-library/react";
import { expect, test } from "vitest";
import FirstOrder from "../../src/ui/first-order/FirstOrder.tsx";
import { SeriesNote } from "../../src/ui/SeriesNote.tsx";
import { answer, renderFixed } from "./render-fixed.tsx";

const STARTER = { statuses: ["pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled"], cancelled: [], table: "public.orders" };
const lines = () => [...document.querySelectorAll("code")].map(({ textContent }) => textContent);

test("the starter table has lines to copy; of another only the name is shown", () => {
  const { update } = renderFixed(<FirstOrder />, { meta: STARTER });
  expect(lines()).toEqual(["make psql", expect.stringMatching(/^insert into orders/)]);
  expect(screen.queryByRole("button", { name: "Send a test order" })).toBeNull();
  update({ meta: { ...STARTER, statuses: ["neu"], table: "shop.bestellungen" } });
  expect(lines()).toEqual([]);
  expect(document.body.textContent).toContain("shop.bestellungen");
});

test("a test order that the server refuses says why, and can be sent again", async () => {
  const requested = answer(new TypeError("network"), {});
  renderFixed(<FirstOrder />, { meta: { ...STARTER, test_order: true } });
  const button = () => screen.getByRole("button", { name: "Send a test order" }) as HTMLButtonElement;
  fireEvent.click(button());
  expect(button().disabled).toBe(true);
  await screen.findByRole("alert");
  fireEvent.click(button());
  expect(screen.queryByRole("alert")).toBeNull();
  expect(requested).toEqual(["/api/test-order", "/api/test-order"]);
});

test.each([
  [null, null],
  ["counting", "counting"],
  ["failed", "failed"],
] as const)("says that the charts are not exact: %s", (seriesProblem, mark) => {
  renderFixed(<SeriesNote />, { seriesProblem });
  expect(document.querySelector("[data-inexact]")?.getAttribute("data-inexact") ?? null).toBe(mark);
});
