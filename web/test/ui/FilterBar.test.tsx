import { act, fireEvent, screen } from "@testing-library/react";
import { createRef } from "react";
import { beforeEach, expect, test, vi } from "vitest";
import { getPreferences } from "../../src/preferences.ts";
import { EMPTY_FILTER, type OrderFilter } from "../../src/state/order-filter.ts";
import { FilterBar } from "../../src/ui/FilterBar.tsx";
import { SavedViews } from "../../src/ui/SavedViews.tsx";
import { renderFixed } from "./render-fixed.tsx";

const applied: [OrderFilter, boolean | undefined][] = [];
const left = vi.fn();

beforeEach(() => {
  applied.length = 0;
  left.mockClear();
});

const bar = (filter: Partial<OrderFilter> = {}) => (
  <FilterBar
    filter={{ ...EMPTY_FILTER, ...filter }}
    onFilter={(next, typing) => applied.push([next, typing])}
    search={createRef<HTMLInputElement>()}
    onLeave={left}
  />
);
const field = () => screen.getByRole("searchbox") as HTMLInputElement;
const type = (value: string) => fireEvent.change(field(), { target: { value } });

test("what is typed is applied once, a moment after the last key", () => {
  vi.useFakeTimers();
  renderFixed(bar());
  type("a");
  type("an");
  expect([field().value, applied]).toEqual(["an", []]);
  act(() => void vi.advanceTimersByTime(1_000));
  expect(applied).toEqual([[{ ...EMPTY_FILTER, text: "an" }, true]]);
});

test("a filter from elsewhere replaces what is being typed", () => {
  vi.useFakeTimers();
  const { rerender } = renderFixed(bar({ text: "old" }));
  type("oldx");
  rerender(bar({ text: "new" }));
  act(() => void vi.advanceTimersByTime(1_000));
  expect([field().value, applied]).toEqual(["new", []]);
});

test("the arrow leads to the list, Escape empties the field and then leaves it", () => {
  renderFixed(bar({ text: "anna" }));
  field().focus();
  fireEvent.keyDown(field(), { key: "ArrowDown" });
  expect(left).toHaveBeenCalledTimes(1);
  fireEvent.keyDown(field(), { key: "Escape" });
  expect([field().value, document.activeElement]).toEqual(["", field()]);
  fireEvent.keyDown(field(), { key: "Escape" });
  expect(document.activeElement).toBe(document.body);
});

test("a range without bounds is no filter, though its fields are open", () => {
  const days = () => screen.getByRole("combobox");
  const { rerender } = renderFixed(bar());
  fireEvent.change(days(), { target: { value: "range" } });
  expect(applied.at(-1)?.[0]).toEqual(EMPTY_FILTER);
  fireEvent.change(screen.getByLabelText("From day"), { target: { value: "2026-01-02" } });
  const range: OrderFilter = { ...EMPTY_FILTER, days: "range", from: "2026-01-02" };
  expect(applied.at(-1)?.[0]).toEqual(range);
  rerender(bar(range));
  fireEvent.change(screen.getByLabelText("From day"), { target: { value: "" } });
  expect(applied.at(-1)?.[0]).toEqual(EMPTY_FILTER);
});

test("a status of the address that no order has can be taken out of the filter", () => {
  renderFixed(bar({ statuses: ["gone"] }));
  fireEvent.click(screen.getByLabelText("Gone"));
  expect(applied.at(-1)?.[0]).toEqual(EMPTY_FILTER);
});

const views = () => getPreferences().savedViews;

test("a filter is saved under a name, which it then replaces, and is removed", () => {
  const { rerender } = renderFixed(<SavedViews filter={{ ...EMPTY_FILTER, text: "anna" }} />);
  const save = (name: string) => {
    fireEvent.click(screen.getByRole("button", { name: "Save the filter" }));
    fireEvent.change(screen.getByRole("textbox"), { target: { value: name } });
    fireEvent.submit(screen.getByRole("textbox"));
  };
  save(" mine ");
  expect(views()).toEqual([{ name: "mine", query: "q=anna" }]);
  expect(screen.queryByRole("button", { name: "Save the filter" })).toBeNull(); // it is saved
  rerender(<SavedViews filter={{ ...EMPTY_FILTER, text: "bo" }} />);
  save("  ");
  expect(views()).toHaveLength(1);
  save("mine");
  expect(views()).toEqual([{ name: "mine", query: "q=bo" }]);
  expect(screen.getByRole("link", { name: "mine" }).getAttribute("aria-current")).toBe("true");
  fireEvent.click(screen.getByRole("button", { name: "Remove mine" }));
  expect(views()).toEqual([]);
});
