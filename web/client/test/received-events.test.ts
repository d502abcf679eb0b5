import { expect, it } from "vitest";
import { ReceivedEvents } from "../src/received-events.js";

it("rejects duplicates, and moves the cursor with them too", () => {
  const events = new ReceivedEvents();
  expect([events.add("a"), events.add("b"), events.add("a")]).toEqual([true, true, false]);
  expect(events.cursor).toBe("a");
});

it("starts at a given cursor", () => {
  const events = new ReceivedEvents("a");
  expect([events.cursor, events.includes("a"), events.add("a")]).toEqual(["a", true, false]);
});

it("stores more ids than a resume replays, and drops the oldest", () => {
  const events = new ReceivedEvents();
  for (let n = 0; n <= 15_000; n++) events.add(`e-${n}`);
  expect([events.includes("e-0"), events.includes("e-1"), events.includes("e-15000")]).toEqual([false, true, true]);
});

it("has no cursor after clearCursor, and still rejects duplicates", () => {
  const events = new ReceivedEvents("a");
  events.clearCursor();
  expect([events.cursor, events.add("a")]).toEqual([undefined, false]);
});
