import { expect, test } from "vitest";
import { elapsedSince, measureClockOffset } from "../src/clock-offset.ts";

test("takes the quickest answer, which is wrong by at most half of its time", async () => {
  let now = 1_000_000;
  const ahead = 5_000;
  const delays = [80, 40, 6, 90, 40];
  const ask = async () => {
    const delay = delays.shift() ?? 0;
    const server = new Date(now + delay / 2 + ahead).toISOString();
    now += delay;
    return server;
  };
  expect(await measureClockOffset(ask, () => now)).toEqual({ ms: ahead, errorMs: 3 });
});

test("the time since a moment of the server's clock is corrected, and never negative", () => {
  const offset = { ms: 5_000, errorMs: 3 };
  const now = Date.parse("2026-01-02T03:04:05.012Z");
  expect(elapsedSince("2026-01-02T03:04:10.000000Z", now, offset)).toBe(12);
  expect(elapsedSince("2026-01-02T03:04:10.100000Z", now, offset)).toBe(0);
});
