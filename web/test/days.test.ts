import { expect, test } from "vitest";
import { addDays, dayAt, isDay, startOfDay } from "../src/state/days.ts";

const iso = (ms: number): string => new Date(ms).toISOString();

test.each([
  ["2026-01-15", "Europe/Warsaw", "2026-01-14T23:00:00.000Z"],
  ["2026-07-15", "Europe/Warsaw", "2026-07-14T22:00:00.000Z"],
  ["2026-03-29", "Europe/Warsaw", "2026-03-28T23:00:00.000Z"], // summer time begins
  ["2026-10-25", "Europe/Warsaw", "2026-10-24T22:00:00.000Z"], // and ends
  ["2026-10-26", "Europe/Warsaw", "2026-10-25T23:00:00.000Z"],
  ["2026-01-15", "America/New_York", "2026-01-15T05:00:00.000Z"],
  ["2026-01-15", "Asia/Kolkata", "2026-01-14T18:30:00.000Z"],
  ["2026-01-15", "UTC", "2026-01-15T00:00:00.000Z"],
])("the day %s begins in %s at %s", (day, zone, start) => {
  expect(iso(startOfDay(day, zone))).toBe(start);
  expect(dayAt(startOfDay(day, zone), zone)).toBe(day);
  expect(dayAt(startOfDay(day, zone) - 1, zone)).toBe(addDays(day, -1));
});

test("a zone that the browser does not know is this browser's", () => {
  expect(dayAt(Date.parse("2026-01-15T12:00:00Z"), "Mars/Olympus")).toBe(dayAt(Date.parse("2026-01-15T12:00:00Z"), undefined));
});

test("knows the days of the calendar", () => {
  expect(["2026-02-28", "2026-02-29", "2024-02-29", "2026-13-01", "26-1-1", "", "tomorrow"].map(isDay)).toEqual([true, false, true, false, false, false, false]);
  expect(addDays("2026-02-28", 1)).toBe("2026-03-01");
  expect(addDays("no day", 1)).toBe("");
});
