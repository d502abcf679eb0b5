import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test } from "vitest";
import { useState } from "react";
import { EMPTY_FILTER } from "../src/state/order-filter.ts";
import { OrdersPanel } from "../src/ui/OrdersPanel.tsx";
import { ViewFrame } from "../src/ui/ViewFrame.tsx";
import { created, row } from "./fake-feed.ts";
import { fakeShop } from "./fake-shop.tsx";

const shop = fakeShop();

/** Without a layout of its own, the document still has to say how high a row is. */
function List() {
  const [filter, setFilter] = useState(EMPTY_FILTER);
  return (
    <ViewFrame>
      <style>{".grid { --row-height: 2.5 }"}</style>
      <OrdersPanel filter={filter} onFilter={setFilter} search={{ current: null }} />
    </ViewFrame>
  );
}

async function openList() {
  shop.current.add(row(1), row(2), row(3, { status: "confirmed" }));
  await shop.open("", <List />);
  await screen.findByText("N3");
}

const box = (number: string) => screen.getByRole("checkbox", { name: `Select #${number}` });

test("selected orders are changed together, as far as the map allows", async () => {
  await openList();
  fireEvent.click(box("N3"));
  fireEvent.click(box("N1"), { shiftKey: true });
  await screen.findByText("3 selected");
  fireEvent.click(screen.getByRole("button", { name: /Change the status/ }));
  const menu = within(await screen.findByRole("dialog", { name: "Status of 3 orders" }));
  const confirmed = menu.getByRole("button", { name: /Confirmed/ });
  expect(confirmed.textContent).toContain("2 of 3");
  fireEvent.click(confirmed);
  await screen.findByText("→ Confirmed: 2 changed, 1 had it already, left alone");
  expect(shop.current.patches.map(([key]) => key).sort()).toEqual(["1", "2"]);
});

test("the active row is selected by X, and changed by S and a digit", async () => {
  await openList();
  const grid = screen.getByRole("grid");
  fireEvent.keyDown(grid, { key: "ArrowDown" });
  fireEvent.keyDown(grid, { key: "s" });
  await screen.findByRole("dialog", { name: "Status of #N3" });
  fireEvent.keyDown(document.body, { key: "3" });
  await waitFor(() => expect(shop.current.patches).toEqual([["3", { status: "ready", from: "confirmed" }]]));
  fireEvent.keyDown(grid, { key: "x" });
  await screen.findByText("1 selected");
  fireEvent.keyDown(grid, { key: "Escape" });
  await waitFor(() => expect(screen.queryByText("1 selected")).toBeNull());
});

test("without permission the bar says why", async () => {
  shop.current.meta.write = { status: false, reason: "not_in_map", transitions: null };
  await openList();
  fireEvent.click(box("N1"));
  const button = (await screen.findByRole("button", { name: /Change the status/ })) as HTMLButtonElement;
  expect(button.disabled).toBe(true);
  screen.getByText("Statuses cannot be changed: the map of the table does not allow it. Set status = true under [write] in the map, and attach the table with it.");
});

test("a click on a row leads to the order, one on its box does not", async () => {
  await openList();
  fireEvent.click(box("N1"));
  expect(location.pathname).toBe("/admin/dashboard");
  fireEvent.click(screen.getByText("N1"));
  expect(location.pathname).toBe("/admin/dashboard/orders/1");
});

test("a click that began on one order does not end on another that has come in its place", async () => {
  await openList();
  const link = screen.getByText("N3");
  const press = screen.getByRole("checkbox", { name: "Select #N3" });
  act(() => press.focus());
  fireEvent.pointerDown(link);
  act(() => {
    for (let n = 10; n < 30; n++) shop.current.publish(created(n, 600 + n));
  });
  await screen.findByText("N29");
  expect(link.isConnected).toBe(true); // it shows another order now
  expect(link.textContent).not.toBe("N3");
  expect(document.activeElement).toBe(document.body);
  fireEvent.click(link);
  expect(location.pathname).toBe("/admin/dashboard");
  fireEvent.pointerDown(link);
  fireEvent.click(link);
  expect(location.pathname).toContain("/admin/dashboard/orders/");
});
