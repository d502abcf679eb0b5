import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import { getPreferences, setPreferences } from "../src/preferences.ts";
import { BoardView } from "../src/ui/board/BoardView.tsx";
import { created, row } from "./fake-feed.ts";
import { fakeShop } from "./fake-shop.tsx";

const shop = fakeShop();

async function openBoard() {
  shop.current.add(row(1), row(2, { status: "confirmed" }), row(3), row(4, { status: "delivered" }));
  await shop.open("/board", <BoardView />);
  await screen.findByText("Online (Live)");
  await screen.findByText("N3");
}

const column = (name: string) => within(screen.getByRole("region", { name }));
const numbers = (name: string) => column(name).queryAllByRole("link").map((link) => link.querySelector("bdi")?.textContent);
const card = (number: string) => screen.getByText(number).closest("a") as HTMLElement;
const press = (number: string, key: string) => fireEvent.keyDown(card(number), { key });

test("has a column for each status that needs work, in the map's order", async () => {
  await openBoard();
  expect(screen.getAllByRole("heading", { level: 3 }).map(({ textContent }) => textContent)).toEqual(["Pending", "Confirmed", "Ready"]);
  expect([numbers("Pending"), numbers("Confirmed"), numbers("Ready")]).toEqual([["N3", "N1"], ["N2"], []]);
  expect(card("N1").getAttribute("href")).toBe("/admin/dashboard/orders/1");
});

test("follows events", async () => {
  await openBoard();
  act(() => void shop.current.change("1", "confirmed"));
  await waitFor(() => expect([numbers("Pending"), numbers("Confirmed")]).toEqual([["N3"], ["N2", "N1"]]));
  act(() => shop.current.publish(created(9, 500, { created_at: "2026-02-02T00:00:00Z" })));
  await waitFor(() => expect(numbers("Pending")).toEqual(["N9", "N3"]));
});

test("a column draws its first cards, and all when it is scrolled or an arrow key leads beyond them", async () => {
  for (let n = 10; n < 60; n++) shop.current.add(row(n), row(100 + n, { status: "confirmed" }));
  await openBoard();
  expect([numbers("Pending").length, numbers("Confirmed").length]).toEqual([32, 32]);
  const list = card("N59").closest("ul") as HTMLElement;
  list.scrollTop = 10;
  fireEvent.scroll(list);
  expect(numbers("Pending").length).toBe(52);
  act(() => card("N20").focus()); // the fortieth
  press("N20", "ArrowRight");
  expect(document.activeElement).toBe(card("N120"));
  expect(numbers("Confirmed").length).toBe(51);
});

test("a card is moved with the keyboard, past the columns where it may not go", async () => {
  await openBoard();
  act(() => card("N3").focus());
  press("N3", " ");
  screen.getByText(/^#N3 taken/);
  expect(screen.getByRole("region", { name: "Ready" }).dataset.drop).toBe("forbidden");
  press("N3", "ArrowRight");
  expect(screen.getByRole("region", { name: "Confirmed" }).dataset.drop).toBe("over");
  press("N3", " ");
  screen.getByText("#N3 moved to: Confirmed");
  await waitFor(() => expect(numbers("Confirmed")).toEqual(["N3", "N2"]));
  await waitFor(() => expect(shop.current.patches).toEqual([["3", { status: "confirmed", from: "pending" }]]));
  await waitFor(() => expect(document.activeElement).toBe(card("N3")));
});

test("statuses without a column take a card while it is moved", async () => {
  await openBoard();
  act(() => card("N3").focus());
  press("N3", " ");
  for (let n = 0; n < 2; n++) press("N3", "ArrowRight");
  screen.getByText("To: Cancelled");
  press("N3", "Enter");
  await waitFor(() => expect(numbers("Pending")).toEqual(["N1"]));
  await waitFor(() => expect(shop.current.patches).toEqual([["3", { status: "cancelled", from: "pending" }]]));
});

test("Escape leaves the card where it was", async () => {
  await openBoard();
  act(() => card("N3").focus());
  press("N3", " ");
  press("N3", "ArrowRight");
  press("N3", "Escape");
  screen.getByText("#N3 stays where it was.");
  expect(shop.current.patches).toEqual([]);
});

test("without permission no card is taken, and the reason is said", async () => {
  shop.current.meta.write = { status: false, reason: "no_login", transitions: null };
  await openBoard();
  act(() => card("N3").focus());
  press("N3", " ");
  expect(screen.getAllByText("Statuses cannot be changed: this server has no login. Set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL on the server, then sign in as an admin.")).toHaveLength(2);
  expect(screen.getByRole("region", { name: "Confirmed" }).dataset.drop).toBeUndefined();
});

test("a card is dragged to a column where it may go, and nowhere else", async () => {
  await openBoard();
  const drag = async (number: string, to: string) => {
    vi.spyOn(document, "elementFromPoint").mockReturnValue(screen.getByRole("region", { name: to }));
    fireEvent.pointerDown(card(number), { button: 0, isPrimary: true, pointerType: "mouse", pointerId: 1, clientX: 10, clientY: 10 });
    fireEvent.pointerMove(window, { pointerId: 1, clientX: 60, clientY: 10 });
    fireEvent.pointerMove(window, { pointerId: 1, clientX: 90, clientY: 10 });
    const { drop } = screen.getByRole("region", { name: to }).dataset;
    fireEvent.pointerUp(window, { pointerId: 1, clientX: 90, clientY: 10 });
    await act(async () => new Promise((resolve) => setTimeout(resolve)));
    return drop;
  };
  expect(await drag("N3", "Ready")).toBe("forbidden");
  expect(shop.current.patches).toEqual([]);
  expect(await drag("N3", "Confirmed")).toBe("over");
  expect(shop.current.patches).toEqual([["3", { status: "confirmed", from: "pending" }]]);
});

test("nothing on the board moves while a card is moved, and what came meanwhile is shown after it", async () => {
  await openBoard();
  act(() => card("N1").focus());
  press("N1", " ");
  act(() => {
    shop.current.publish(created(9, 700, { created_at: "2026-02-02T00:00:00Z" }));
    shop.current.change("3", "confirmed");
  });
  await screen.findByText(/New order #N9/);
  expect([numbers("Pending"), numbers("Confirmed")]).toEqual([["N3", "N1"], ["N2"]]);
  press("N1", "ArrowRight");
  press("N1", " ");
  await waitFor(() => expect([numbers("Pending"), numbers("Confirmed")]).toEqual([["N9"], ["N3", "N2", "N1"]]));
});

test("columns and limits of age are stored", async () => {
  await openBoard();
  fireEvent.click(screen.getByRole("button", { name: "Columns and ages" }));
  const dialog = within(screen.getByRole("dialog"));
  fireEvent.click(dialog.getByRole("checkbox", { name: "Delivered" }));
  await waitFor(() => expect(numbers("Delivered")).toEqual(["N4"]));
  fireEvent.change(dialog.getByRole("spinbutton", { name: "Pending: Late from" }), { target: { value: "7" } });
  expect(getPreferences().board).toMatchObject({
    shown: ["pending", "confirmed", "ready", "delivered"],
    limits: { pending: { late: 7, veryLate: 20 } },
  });
});

test("cards are coloured by their age", async () => {
  const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();
  setPreferences({ board: { shown: null, alarm: false, limits: { confirmed: { late: 1, veryLate: 2 } } } });
  shop.current.add(row(7, { created_at: minutesAgo(15) }), row(8, { status: "confirmed", created_at: minutesAgo(15) }), row(9, { created_at: minutesAgo(1) }));
  await openBoard();
  const levels = ["N7", "N8", "N9"].map((number) => card(number).querySelector<HTMLElement>("[data-age]")?.dataset.age);
  expect(levels).toEqual(["late", "very-late", "fresh"]);
});

test("the alarm asks to be acknowledged, by a button or any key", async () => {
  vi.stubGlobal("AudioContext", class { state = "suspended"; resume = () => new Promise(() => {}); });
  await openBoard();
  fireEvent.click(screen.getByRole("button", { name: "Alarm" }));
  act(() => shop.current.publish(created(20, 600)));
  const banner = await screen.findByText("1 new order");
  fireEvent.click(within(banner.parentElement as HTMLElement).getByRole("button", { name: "Acknowledge" }));
  expect(screen.queryByText("1 new order")).toBeNull();
  act(() => shop.current.publish(created(21, 601)));
  await screen.findByText("1 new order");
  fireEvent.keyDown(document.body, { key: "a" });
  expect(screen.queryByText("1 new order")).toBeNull();
});

test("the banner of the alarm comes after a move, not during it", async () => {
  vi.stubGlobal("AudioContext", class { state = "suspended"; resume = () => new Promise(() => {}); });
  setPreferences({ board: { shown: null, limits: {}, alarm: true } });
  await openBoard();
  act(() => card("N1").focus());
  press("N1", " ");
  act(() => shop.current.publish(created(20, 800)));
  await screen.findByText(/New order #N20/);
  expect(screen.queryByText("1 new order")).toBeNull();
  fireEvent.blur(card("N1")); // ends the move; a key would acknowledge
  await screen.findByText("1 new order");
});

test("a drag goes on when the card takes the focus of another element", async () => {
  await openBoard();
  const button = screen.getByRole("button", { name: "Columns and ages" });
  act(() => button.focus());
  vi.spyOn(document, "elementFromPoint").mockReturnValue(screen.getByRole("region", { name: "Confirmed" }));
  fireEvent.pointerDown(card("N3"), { button: 0, isPrimary: true, pointerType: "mouse", pointerId: 1, clientX: 10, clientY: 10 });
  act(() => button.blur());
  fireEvent.pointerMove(window, { pointerId: 1, clientX: 60, clientY: 10 });
  expect(screen.getByRole("region", { name: "Confirmed" }).dataset.drop).toBe("allowed");
  fireEvent.keyDown(window, { key: "Escape" });
  expect(screen.getByRole("region", { name: "Confirmed" }).dataset.drop).toBeUndefined();
});

test("a map without statuses has a column for each status that orders have", async () => {
  Object.assign(shop.current.meta, { statuses: [], write: { status: false, reason: "not_in_map", transitions: null } });
  const statuses = { confirmed: { orders: 1, revenue: {} }, pending: { orders: 2, revenue: {} } };
  const series = { period: "1h", time_zone: "UTC", buckets: [], statuses, position: "e-s1.1", complete: true };
  Object.assign(shop.current.api, { series: async () => ({ ...series, now: Date.now() }) });
  await openBoard();
  await waitFor(() => expect([numbers("Confirmed"), numbers("Pending")]).toEqual([["N2"], ["N3", "N1"]]));
});
