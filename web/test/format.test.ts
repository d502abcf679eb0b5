import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { formatFor } from "../src/format.ts";

// In the local time zone, like the formats.
const NOON = new Date(2026, 0, 2, 12, 0, 0).getTime();

beforeEach(() => void vi.useFakeTimers({ now: NOON, toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

test("shows the day of a time that is not today", () => {
  const { time } = formatFor("en");
  expect(time(new Date(2026, 0, 2, 9, 5, 7).getTime())).toBe("09:05:07");
  expect(time(new Date(2026, 0, 1, 23, 59, 0).getTime())).toBe("1 Jan, 23:59");
});

test("formats by language", () => {
  const plain = (text: string) => text.replace(/\s/g, " ");
  expect(plain(formatFor("ru").money("1234.5"))).toBe("1 234,50 zł");
  expect(plain(formatFor("en").count(1234))).toBe("1,234");
  expect(plain(formatFor("ru").count(1_234_567n))).toBe("1 234 567");
  expect(formatFor("en").percent(0.256)).toBe("26%");
  expect(formatFor("en").clock(NOON)).toBe("12:00");
});

test("returns the same object for the same language", () => {
  expect(formatFor("ru")).toBe(formatFor("ru"));
  expect(formatFor("ru")).not.toBe(formatFor("en"));
});
