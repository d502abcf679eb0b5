import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { formatFor } from "../src/format.ts";

// In the local time zone, like the formats.
const NOON = new Date(2026, 0, 2, 12, 0, 0).getTime();

beforeEach(() => void vi.useFakeTimers({ now: NOON, toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

test("shows the day of a time that is not today", () => {
  const { time } = formatFor("en");
  expect(time(new Date(2026, 0, 2, 9, 5, 7).toISOString())).toBe("09:05:07");
  expect(time(new Date(2026, 0, 1, 23, 59, 0).toISOString())).toBe("1 Jan, 23:59");
});

test("formats by language", () => {
  const plain = (text: string) => text.replace(/\s/g, " ");
  expect(plain(formatFor("ru").money("1234.5"))).toBe("1 234,50 zł");
  expect(plain(formatFor("en").count(1234))).toBe("1,234");
  expect(plain(formatFor("ru").count("12345678901234567890"))).toBe("12 345 678 901 234 567 890");
  expect(formatFor("en").percent(0.256)).toBe("26%");
  expect(formatFor("en").clock(NOON)).toBe("12:00");
});

test("shows a date that JavaScript does not know as it is, and none as a dash", () => {
  const { time, dateTime } = formatFor("en");
  expect([time("10000-01-01T00:00:00.000000Z"), dateTime("294276-12-31T23:59:59Z")]).toEqual(["10000-01-01T00:00:00.000000Z", "294276-12-31T23:59:59Z"]);
  expect([time(null), dateTime(null)]).toEqual(["–", "–"]);
});

test("formats the amount of an order in its currency, or in that of the server, and none as a dash", () => {
  const { money } = formatFor("en");
  expect([money("2", "JPY"), money("2", null), money("2"), money(null, "JPY")].map((text) => text.replace(/\s/g, " "))).toEqual([
    "¥2",
    "zł 2.00",
    "zł 2.00",
    "–",
  ]);
});

test("sums up what an event says", () => {
  const { summary } = formatFor("en");
  expect(summary({ customer_name: "Anna", total: "2.00", currency: "EUR" })).toBe("Anna · €2.00");
  expect(summary({ customer_name: null, total: "2.00", currency: "EUR" })).toBe("€2.00");
  expect(summary({ customer_name: "Anna", total: null })).toBe("Anna");
  expect(summary({})).toBe("");
});

test("returns the same object for the same language", () => {
  expect(formatFor("ru")).toBe(formatFor("ru"));
  expect(formatFor("ru")).not.toBe(formatFor("en"));
});
