import { expect, test } from "vitest";
import { toOrder } from "../src/state/order-list.ts";
import { cardBeside, nextTarget } from "../src/ui/board/board-keys.ts";
import { ageLevel, shownAge } from "../src/ui/board/use-age.ts";
import { row } from "./fake-feed.ts";

const column = (status: string, ...keys: number[]) => ({ status, cards: keys.map((key) => toOrder(row(key, { status }), 0)) });
const columns = [column("pending", 9, 8, 7), column("confirmed"), column("ready", 6)];

test.each([
  ["9", "ArrowDown", false, "8"],
  ["9", "ArrowUp", false, undefined],
  ["7", "ArrowRight", false, "6"], // past the empty column, to its last card
  ["6", "ArrowLeft", false, "9"],
  ["9", "ArrowLeft", true, "6"],
  ["6", "ArrowRight", false, undefined],
  ["nothing", "ArrowUp", false, undefined],
  ["9", "Enter", false, undefined],
])("from %s %s (right to left: %s) leads to %s", (key, arrow, rtl, expected) => {
  expect(cardBeside(columns, key, arrow, rtl)?.key).toBe(expected);
});

test("a card that is moved skips the columns where it may not go", () => {
  const statuses = ["pending", "confirmed", "ready"];
  const canDrop = (status: string) => status !== "confirmed";
  expect(nextTarget(statuses, "pending", "ArrowRight", false, canDrop)).toBe("ready");
  expect(nextTarget(statuses, "ready", "ArrowRight", false, canDrop)).toBe("ready");
  expect(nextTarget(statuses, "ready", "ArrowRight", true, canDrop)).toBe("pending");
  expect(nextTarget(statuses, "ready", "ArrowUp", false, canDrop)).toBe("ready");
});

test("the age counts seconds for a minute, then minutes; the limits are in minutes", () => {
  expect([0, 59_999, 60_000, 119_999].map((age) => shownAge(1_000, 1_000 + age))).toEqual([0, 59_000, 60_000, 60_000]);
  expect(shownAge(5_000, 1_000)).toBe(0); // the shop's clock is ahead
  const limits = { late: 10, veryLate: 20 };
  expect([599_999, 600_000, 1_200_000].map((age) => ageLevel(age, limits))).toEqual(["fresh", "late", "very-late"]);
});
