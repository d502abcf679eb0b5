import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test } from "vitest";
import { ApiError } from "../src/api.ts";
import { OrderView } from "../src/ui/order/OrderView.tsx";
import { created, deleted, moved, row } from "./fake-feed.ts";
import { fakeShop } from "./fake-shop.tsx";

const shop = fakeShop();

async function openOrder(key = "1") {
  await shop.open(`/orders/${key}`, <OrderView />);
  await screen.findByText("Online (Live)");
}

const panel = (name: string) => within(screen.getByRole("region", { name }));
const buttons = () => within(screen.getByRole("group", { name: "Next status" })).getAllByRole("button");

async function shopWithOrder() {
  shop.current.add(
    row(3),
    row(2),
    row(1, { status: "confirmed", total: "12.50", currency: "EUR", data: { delivery_address: { street: "Długa 5", doors: ["a", "b"] }, paid: true, note: null } }),
  );
  shop.current.history.set("1", [
    { ...moved(1, 2, "pending", "confirmed", { actor: { role: "serving", application_name: "dashboard: Anna" } }), at: "2026-01-02T03:07:25Z" },
    created(1, 1, { actor: { role: "shop", application_name: "" } }),
  ]);
  await openOrder();
}

test("shows what is known of the order, readable, and its history with actors and durations", async () => {
  await shopWithOrder();
  const data = await screen.findByRole("region", { name: "Data" });
  for (const text of ["€12.50", "Delivery address", "Street", "Długa 5", "a", "b", "Paid", "yes", "Note"]) within(data).getByText(text);
  const entries = panel("History").getAllByRole("listitem");
  expect(entries).toHaveLength(2);
  expect(entries[0]?.textContent).toContain("by Anna");
  expect(entries[0]?.textContent?.replace(/\s/g, " ")).toContain("after 3 mins 20 secs");
  expect(entries[1]?.textContent).toContain("by shop");
});

test("follows events", async () => {
  await shopWithOrder();
  act(() => void shop.current.change("1", "ready", "woo"));
  await waitFor(() => expect(panel("History").getAllByRole("listitem")).toHaveLength(3));
  panel("Status").getByText("Ready");
  panel("History").getByText("by serving (woo)");
});

test("offers the statuses that the map allows, and changes to one", async () => {
  await shopWithOrder();
  await waitFor(() => expect(buttons().map(({ textContent }) => textContent)).toEqual(["Ready", "All statuses S"]));
  fireEvent.click(buttons()[0] as HTMLElement);
  await screen.findByText("#N1: Ready");
  expect(shop.current.patches).toEqual([["1", { status: "ready", from: "confirmed" }]]);
  fireEvent.click(await screen.findByRole("button", { name: /Undo/ }));
  await screen.findByText("Undone. #N1: Confirmed");
  expect(shop.current.patches[1]?.[1]).toMatchObject({ status: "confirmed", from: "ready", undo: expect.stringMatching(/^e-1-/) as string });
});

test("says who was faster, and shows the present status", async () => {
  await shopWithOrder();
  await waitFor(() => expect(buttons()).toHaveLength(2));
  shop.current.orders.set("1", row(1, { status: "cancelled" })); // its event is on its way
  fireEvent.click(buttons()[0] as HTMLElement);
  await screen.findByText("Bo was faster. #N1 is now: Cancelled");
  panel("Status").getByText("Confirmed");
});

test("says of an undo that another change has overtaken that nothing was undone", async () => {
  await shopWithOrder();
  await waitFor(() => expect(buttons()).toHaveLength(2));
  fireEvent.click(buttons()[0] as HTMLElement);
  const undo = await screen.findByRole("button", { name: /Undo/ });
  shop.current.orders.set("1", row(1, { status: "delivered" })); // its event is on its way
  fireEvent.click(undo);
  await screen.findByText("Not undone: Bo has changed #N1 since. It is now: Delivered");
  expect(screen.queryByText(/faster/)).toBeNull();
});

test("says that the outcome is unknown when the server does not answer, and finds it out by the event", async () => {
  await shopWithOrder();
  await waitFor(() => expect(buttons()).toHaveLength(2));
  shop.current.nextError = new TypeError("Failed to fetch");
  fireEvent.click(buttons()[0] as HTMLElement);
  await screen.findByText(/the outcome is unknown/);
  panel("Status").getByText("outcome unknown");
  expect((buttons()[0] as HTMLButtonElement).disabled).toBe(true);
  act(() => void shop.current.change("1", "ready"));
  await screen.findByText("#N1: Ready");
});

test.each([
  ["no_login", "Statuses cannot be changed: this server has no login. Set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL on the server, then sign in as an admin."],
  ["not_in_map", "Statuses cannot be changed: the map of the table does not allow it. Set status = true under [write] in the map, and attach the table with it."],
  ["role", "Statuses cannot be changed: your role may not. Sign in as an admin."],
] as const)("buttons that may not act are disabled, with the reason %s in words", async (reason, text) => {
  shop.current.meta.write = { status: false, reason, transitions: null };
  await shopWithOrder();
  await screen.findByText(text);
  const actions = buttons().slice(0, -1) as HTMLButtonElement[];
  expect(actions.length).toBeGreaterThan(0);
  expect(actions.every(({ disabled }) => disabled)).toBe(true);
  expect(actions[0]?.getAttribute("aria-describedby")).toBe("write-block");
});

test("the key S opens the statuses, and a digit chooses", async () => {
  await shopWithOrder();
  await waitFor(() => expect(buttons()).toHaveLength(2));
  fireEvent.keyDown(document.body, { key: "ы", code: "KeyS" });
  const menu = within(await screen.findByRole("dialog", { name: "Status of #N1" }));
  expect((menu.getByRole("button", { name: /Delivered/ }) as HTMLButtonElement).disabled).toBe(true);
  fireEvent.keyDown(document.body, { key: "4" }); // not allowed
  expect(shop.current.patches).toEqual([]);
  fireEvent.keyDown(document.body, { key: "3" });
  await screen.findByText("#N1: Ready");
});

test("J and K lead to the orders beside it", async () => {
  await shopWithOrder();
  await screen.findByRole("link", { name: /Newer: N2/ });
  fireEvent.keyDown(document.body, { key: "k" });
  await screen.findByRole("heading", { name: "Order N2" });
  expect(location.pathname).toBe("/admin/dashboard/orders/2");
  fireEvent.keyDown(document.body, { key: "k" });
  await screen.findByRole("heading", { name: "Order N3" });
  fireEvent.keyDown(document.body, { key: "j" });
  await screen.findByRole("heading", { name: "Order N2" });
  fireEvent.keyDown(document.body, { key: "Escape" });
  expect(location.pathname).toBe("/admin/dashboard");
});

test("a deleted order keeps what was known, and cannot be changed", async () => {
  shop.current.history.set("1", [deleted(1, 3), moved(1, 2, "pending", "confirmed"), created(1, 1, { total: "7.00", currency: "EUR" })]);
  await openOrder();
  await screen.findByText(/This order was deleted/);
  panel("Data").getByText("€7.00");
  panel("Status").getByText("Confirmed");
  expect(panel("History").getAllByRole("listitem")).toHaveLength(3);
  expect(screen.queryByRole("group", { name: "Next status" })).toBeNull();
});

test("an unknown key is named", async () => {
  await openOrder("a%2F%3Cb%3E");
  await screen.findByText("There is no order with the key a/<b>, and none is in the journal.");
});

test("a role that sees totals alone is told so", async () => {
  const forbidden = () => Promise.reject(new ApiError(403));
  Object.assign(shop.current.api, { order: forbidden, orderEvents: forbidden, orders: forbidden });
  await openOrder();
  await screen.findByText(/Your role shows totals only/);
});

test("gives the address of the order, and a QR code of it", async () => {
  await shopWithOrder();
  const field = (await screen.findByRole("textbox", { name: "Link to this order" })) as HTMLInputElement;
  expect(field.value).toBe(`${location.origin}/admin/dashboard/orders/1`);
  fireEvent.click(screen.getByRole("button", { name: "QR code" }));
  const code = await screen.findByRole("img", { name: /QR code of/ });
  expect(code.querySelector("path")?.getAttribute("d")?.length).toBeGreaterThan(1000);
});
