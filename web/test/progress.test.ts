import { expect, test } from "vitest";
import { progressOf } from "../src/state/progress.ts";

const STATUSES = ["pending", "preparing", "delivered", "cancelled"];

test("an order has done the statuses before its own", () => {
  expect(progressOf("preparing", STATUSES, ["cancelled"])).toEqual([
    { status: "pending", state: "done" },
    { status: "preparing", state: "current" },
    { status: "delivered", state: "to-come" },
  ]);
});

test.each(["cancelled", "lost", ""])("an order with the status %j is not on the way", (status) => {
  expect(progressOf(status, STATUSES, ["cancelled"])).toBeNull();
});
