import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { throttle } from "../src/throttle.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("runs once for many calls, not during a call, and at most once per interval", () => {
  const callback = vi.fn();
  const throttled = throttle(callback, 50);
  throttled();
  throttled();
  expect(callback).toHaveBeenCalledTimes(0);
  vi.advanceTimersByTime(0);
  expect(callback).toHaveBeenCalledTimes(1);
  throttled();
  vi.advanceTimersByTime(49);
  expect(callback).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(1);
  expect(callback).toHaveBeenCalledTimes(2);
});

it("runs again for a call from within the callback", () => {
  let runs = 0;
  const throttled = throttle(() => {
    if (++runs === 1) throttled();
  });
  throttled();
  vi.advanceTimersByTime(1_000);
  expect(runs).toBe(2);
});
