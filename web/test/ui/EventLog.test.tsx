import { fireEvent, screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import { EventLog } from "../../src/ui/EventLog.tsx";
import { created } from "../fake-feed.ts";
import { answer, renderFixed } from "./render-fixed.tsx";

const page = (from: number, count: number, next: string, more: boolean) => ({
  events: Array.from({ length: count }, (_, index) => created(from + index, from + index)),
  next,
  more,
});
const numbers = () => screen.queryAllByRole("listitem").map((item) => item.querySelector("b")?.textContent ?? item.textContent);
const button = (name: string) => screen.getByRole("button", { name }) as HTMLButtonElement;

test("short answers are put together to a page, and the next page begins after it", async () => {
  const requested = answer(page(1, 30, "a", true), page(31, 20, "b", true), page(51, 1, "c", false), page(1, 50, "b", true));
  renderFixed(<EventLog />);
  await waitFor(() => expect(numbers()).toHaveLength(50));
  expect(button("Back").disabled).toBe(true);
  fireEvent.click(button("Next"));
  await screen.findByText("page 2");
  expect(numbers()).toEqual(["N51", "End of the journal"]);
  expect(button("Next").disabled).toBe(true);
  fireEvent.click(button("Back"));
  await screen.findByText("page 1");
  const asked = requested.map((path) => Object.fromEntries(new URL(path, "http://shop.example").searchParams));
  expect(asked).toEqual([{ limit: "50" }, { after: "a", limit: "20" }, { after: "b", limit: "50" }, { limit: "50" }]);
});

test("a page that cannot be loaded is asked for again", async () => {
  answer(503, page(1, 1, "a", false));
  renderFixed(<EventLog />);
  fireEvent.click(await screen.findByRole("button", { name: "Again" }));
  await waitFor(() => expect(numbers()).toEqual(["N1", "End of the journal"]));
  expect(screen.queryByRole("alert")).toBeNull();
});

test("from a page that the journal does not have any more one goes back to its beginning", async () => {
  const requested = answer(page(1, 50, "a", true), 410, page(7, 1, "b", false));
  renderFixed(<EventLog />);
  await waitFor(() => expect(button("Next").disabled).toBe(false));
  fireEvent.click(button("Next"));
  const alert = await screen.findByRole("alert");
  fireEvent.click(alert.querySelector("button") as HTMLElement);
  await waitFor(() => expect(numbers()).toEqual(["N7", "End of the journal"]));
  expect(requested.at(-1)).not.toContain("after");
});
