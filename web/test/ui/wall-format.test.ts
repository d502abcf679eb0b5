import { expect, test } from "vitest";
import { ageLevel, shownAge } from "../../src/ui/board/use-age.ts";
import { wallFormat } from "../../src/ui/wall/wall-format.ts";

const AT = Date.parse("2026-01-02T23:30:00Z");

test("amounts have no fraction, and any size", () => {
  expect(wallFormat("en").wholeMoney("12345678901234567890.50").replace(/\s/g, " ")).toMatch(/12,345,678,901,234,567,89[01]/);
});

test("the day is that of the shop, and of the browser if it does not know the zone", () => {
  expect(wallFormat("en").dayAndClock(AT, "Europe/Warsaw")).toMatch(/3 January.*00:30/);
  expect(wallFormat("en").dayAndClock(AT, "Mars/Olympus")).toBe(wallFormat("en").dayAndClock(AT, undefined));
});

test("an age changes once a second below a minute, and once a minute then; an order from the future is new", () => {
  expect([-5, 999, 1_000, 59_999, 60_000, 119_999, 120_000].map((age) => shownAge(AT, AT + age))).toEqual([0, 0, 1_000, 59_000, 60_000, 60_000, 120_000]);
  expect([9, 10, 19, 20].map((minutes) => ageLevel(minutes * 60_000, { late: 10, veryLate: 20 }))).toEqual(["fresh", "late", "late", "very-late"]);
});
