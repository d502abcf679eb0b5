import { act, fireEvent, screen } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import type { Toast } from "../../src/state/toaster.ts";
import { Toasts } from "../../src/ui/Toasts.tsx";
import { created } from "../fake-feed.ts";
import { renderFixed } from "./render-fixed.tsx";

const toast = (key: number, count: number): Toast => ({ key, count, order: created(key, key), firstAt: 0, newestAt: 0, expiresAt: 1 });
const announced = () => screen.getByRole("status").textContent;

test("a screen reader is told of new orders at most every three seconds, and of the last ones", () => {
  vi.useFakeTimers();
  const { update } = renderFixed(<Toasts onOpen={() => {}} />);
  update({ toasts: [toast(1, 1)] });
  act(() => void vi.advanceTimersByTime(1));
  expect(announced()).toBe("New order #N1");
  for (const count of [2, 3, 4]) update({ toasts: [toast(1, count)] });
  act(() => void vi.advanceTimersByTime(2_900));
  expect(announced()).toBe("New order #N1");
  act(() => void vi.advanceTimersByTime(200));
  expect(announced()).toBe("4 new orders");
});

test("one order is described, several by the latest; a click opens that one", () => {
  const opened: string[] = [];
  const { update } = renderFixed(<Toasts onOpen={(key) => opened.push(key)} />, { toasts: [toast(1, 1)] });
  screen.getByText(/^Bo · /);
  update({ toasts: [toast(2, 3)] });
  screen.getByText("latest #N2");
  fireEvent.click(screen.getByRole("button", { name: /3 new orders/ }));
  expect(opened).toEqual(["2"]);
});

test("between toasts the line has the newest order", () => {
  renderFixed(<Toasts onOpen={() => {}} />, { events: [created(4, 4), created(3, 3)] });
  expect(document.querySelector(".newest-order")?.textContent).toContain("N4");
  expect(screen.queryByRole("button")).toBeNull();
});
