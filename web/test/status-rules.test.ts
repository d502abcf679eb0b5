import { expect, test } from "vitest";
import type { Meta, WriteAccess } from "../src/api.ts";
import { choosableStatuses, isAllowed, isFinal, writeBlock } from "../src/state/status-rules.ts";

const ALLOWED: WriteAccess = { status: true, reason: null, transitions: null };
const meta = (write?: Partial<WriteAccess>): Meta => {
  const known = { statuses: ["pending", "ready", "delivered", "cancelled"], cancelled: ["cancelled"] };
  return write === undefined ? known : { ...known, write: { ...ALLOWED, ...write } };
};

test("says why nothing can be changed", () => {
  expect(writeBlock(meta({}))).toBeNull();
  expect(writeBlock(meta({ status: false, reason: "no_login" }))).toBe("no_login");
  expect(writeBlock(meta({ status: false, reason: "role" }))).toBe("role");
  expect(writeBlock(meta())).toBe("not_in_map");
  expect(writeBlock({ statuses: [], cancelled: [] })).toBe("loading");
});

test("allows the transitions of the map, or any if it names none", () => {
  expect(isAllowed(meta({}), "pending", "cancelled")).toBe(true);
  expect(isAllowed(meta({}), "pending", "pending")).toBe(false);
  const some = meta({ transitions: { pending: ["ready"] } });
  expect([isAllowed(some, "pending", "ready"), isAllowed(some, "pending", "cancelled"), isAllowed(some, "ready", "pending")]).toEqual([true, false, false]);
  expect(isAllowed(meta({ status: false }), "pending", "ready")).toBe(false);
  expect(isAllowed(meta(), "pending", "ready")).toBe(false);
});

test("offers the statuses of the map, then those that a transition alone names", () => {
  expect(choosableStatuses(meta({ transitions: { pending: ["packed", "ready"] } }))).toEqual(["pending", "ready", "delivered", "cancelled", "packed"]);
});

test("cancelled, delivered and statuses that nothing follows need no work", () => {
  expect(meta().statuses.filter((status) => isFinal(meta(), status))).toEqual(["delivered", "cancelled"]);
  expect(isFinal(meta({ transitions: { pending: ["ready"] } }), "ready")).toBe(true);
  expect(isFinal(meta({ transitions: {} }), "ready")).toBe(false);
});
