import { act, renderHook } from "@testing-library/react";
import { expect, test } from "vitest";
import { toOrder } from "../src/state/order-list.ts";
import { useListSelection } from "../src/ui/list-selection.ts";
import { row } from "./fake-feed.ts";

const orders = [5, 4, 3, 2, 1].map((key) => toOrder(row(key), key));

function selection(shown = orders) {
  const { result, rerender } = renderHook(({ list }) => useListSelection(list), { initialProps: { list: shown } });
  const keys = () => result.current.orders.map(({ key }) => Number(key));
  return { result, rerender, keys };
}

test("selects single orders and ranges", () => {
  const { result, keys } = selection();
  act(() => result.current.toggle("4", false));
  expect(keys()).toEqual([4]);
  act(() => result.current.toggle("2", true));
  expect(keys()).toEqual([4, 3, 2]);
  act(() => result.current.toggle("3", false));
  expect(keys()).toEqual([4, 2]);
  act(() => result.current.toggle("5", true)); // from the last one that was touched
  expect(keys()).toEqual([5, 4, 3, 2]);
});

test("a range ends like its last order becomes", () => {
  const { result, keys } = selection();
  act(() => result.current.toggleAll());
  act(() => result.current.toggle("4", false));
  act(() => result.current.toggle("2", true));
  expect(keys()).toEqual([5, 1]);
});

test("selects all that are shown, or none", () => {
  const { result, keys } = selection();
  act(() => result.current.toggle("1", false));
  act(() => result.current.toggleAll());
  expect(keys()).toEqual([5, 4, 3, 2, 1]);
  act(() => result.current.toggleAll());
  expect(keys()).toEqual([]);
});

test("an order that the filter hides is not selected", () => {
  const { result, rerender, keys } = selection();
  act(() => result.current.toggleAll());
  rerender({ list: orders.slice(0, 2) });
  expect(keys()).toEqual([5, 4]);
  act(() => result.current.clear());
  expect(keys()).toEqual([]);
});
