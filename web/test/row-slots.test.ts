import { expect, test } from "vitest";
import { RowSlots } from "../src/ui/row-slots.ts";

test("a row keeps its key while it is shown, and others get new ones", () => {
  const slots = new RowSlots();
  expect(slots.assign(["c", "b", "a"])).toEqual([0, 1, 2]);
  expect(slots.assign(["d", "c", "b"])).toEqual([3, 0, 1]);
  expect(slots.assign(["d", "c", "b"])).toEqual([3, 0, 1]);
});

test("keys go by place when more than half of the rows are others", () => {
  const slots = new RowSlots();
  slots.assign(["d", "c", "b", "a"]);
  expect(slots.assign(["g", "f", "e", "d"])).toEqual([0, 1, 2, 3]);
  expect(slots.assign(["g", "f", "e", "d"])).toEqual([0, 1, 2, 3]);
  expect(slots.assign(["m", "l", "k", "i", "h"])).toEqual([0, 1, 2, 3, 4]);
});

test("no two rows have the same key", () => {
  const slots = new RowSlots();
  slots.assign(["a", "b", "c"]);
  slots.assign(["x"]);
  const keys = slots.assign(["x", "a"]);
  expect(new Set(keys).size).toBe(2);
  const more = slots.assign(["x", "a", "b", "c", "d", "e"]);
  expect(new Set(more).size).toBe(6);
});
