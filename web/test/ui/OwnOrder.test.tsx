import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test } from "vitest";
import { ApiError } from "../../src/api.ts";
import CustomerPage from "../../src/ui/visitor/CustomerPage.tsx";
import { created, row } from "../fake-feed.ts";
import { fakeShop } from "../fake-shop.tsx";

const shop = fakeShop();

async function openHistory() {
  shop.current.add(row(1));
  await shop.open("", <CustomerPage />);
  fireEvent.click(await screen.findByRole("button", { name: "History" }));
}

const events = () => within(screen.getByRole("heading", { name: "Order #N1" }).closest("li") as HTMLElement).queryAllByText("N1");

test("the history of an own order follows the events, and is fetched once", async () => {
  shop.current.history.set("1", [created(1, 1)]);
  const { orderEvents } = shop.current.api;
  let requests = 0;
  Object.assign(shop.current.api, { orderEvents: (key: string, limit: number) => (requests++, orderEvents(key, limit)) });
  await openHistory();
  await waitFor(() => expect(events()).toHaveLength(1));
  act(() => void shop.current.change("1", "confirmed"));
  await waitFor(() => expect(events()).toHaveLength(2));
  expect(requests).toBe(1);
});

test("a history that cannot be loaded says so, and that it is tried again", async () => {
  Object.assign(shop.current.api, { orderEvents: () => Promise.reject(new ApiError(503)) });
  await openHistory();
  await screen.findByText("The history could not be loaded. Trying again…");
});
