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

test("no date, time or amount makes a formatter throw", () => {
  for (const language of ["en", "ru", "pl"] as const) {
    const format = formatFor(language);
    const dates = ["10000-01-01T00:00:00Z", "+275760-09-13T00:00:00Z", "infinity", "-infinity", "0044-03-15 BC", "", null];
    for (const date of dates) for (const text of [format.time(date), format.dateTime(date)]) expect(typeof text).toBe("string");
    for (const ms of [NaN, Infinity, -Infinity, 8.64e15, 8.65e15])
      for (const text of [format.clock(ms), format.clockSeconds(ms), format.clockIn(ms, "UTC", true), format.duration(ms)]) expect(typeof text).toBe("string");
    for (const currency of ["", "€", "ZZZ", "USDT", "x".repeat(1000), "עברית"])
      for (const amount of ["9".repeat(131_072), "-0.00000000000000000001", "NaN", "Infinity"]) expect(typeof format.money(amount, currency)).toBe("string");
    expect(typeof format.clockIn(0, "Mars/Olympus", false)).toBe("string");
  }
});

test("a duration has its two largest units", () => {
  const { duration } = formatFor("en");
  const numbers = [0, 999, 65_000, 3_600_000, 90_061_000].map((ms) => duration(ms).replace(/\D+/g, " ").trim());
  expect(numbers).toEqual(["0", "0", "1 5", "1", "1 1"]);
});

test("a name from right to left is kept apart from the amount beside it", () => {
  const { summary } = formatFor("en");
  expect(summary({ customer_name: "Anna", total: "1" })).toBe(`Anna · ${formatFor("en").money("1")}`);
  expect(summary({ customer_name: "עברית 1", total: null })).toBe("\u2068עברית 1\u2069");
});
