import { beforeEach, expect, test, vi } from "vitest";
import { Alarm } from "../src/alarm.ts";

let played: number;
let blocked: boolean;
let allow: () => void;
let alarm: Alarm;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  played = 0;
  blocked = false;
  alarm = new Alarm({
    play: () => played++,
    isBlocked: () => blocked,
    onAllowed: (listener) => {
      allow = listener;
      return () => {
        allow = () => {};
      };
    },
  });
});

test("rings until it is acknowledged, and counts the orders", () => {
  alarm.enable();
  alarm.ring();
  alarm.ring();
  vi.advanceTimersByTime(6_000);
  expect([played, alarm.getSnapshot().count]).toEqual([3, 2]);
  alarm.acknowledge();
  vi.advanceTimersByTime(60_000);
  expect([played, alarm.getSnapshot().count]).toEqual([3, 0]);
});

test("says that the browser blocks sound, and rings as soon as it does not", () => {
  blocked = true;
  alarm.enable();
  alarm.ring();
  vi.advanceTimersByTime(6_000);
  expect([played, alarm.getSnapshot()]).toEqual([0, { count: 1, isBlocked: true }]);
  allow();
  expect([played, alarm.getSnapshot().isBlocked]).toEqual([1, false]);
});

test("does nothing while it is off", () => {
  alarm.ring();
  alarm.enable();
  alarm.ring();
  alarm.disable();
  vi.advanceTimersByTime(60_000);
  expect([played, alarm.getSnapshot().count]).toEqual([1, 0]);
});

test("what was not acknowledged before a pause rings after it", () => {
  alarm.enable();
  alarm.ring();
  alarm.pause();
  vi.advanceTimersByTime(60_000);
  alarm.ring(); // nothing is counted meanwhile
  expect([played, alarm.getSnapshot().count]).toEqual([1, 1]);
  alarm.enable();
  vi.advanceTimersByTime(3_000);
  expect(played).toBe(3);
  alarm.acknowledge();
  alarm.pause();
  alarm.enable();
  vi.advanceTimersByTime(60_000);
  expect([played, alarm.getSnapshot().count]).toEqual([3, 0]);
});
