import { describe, expect, it } from "vitest";
import { isNewer, isOrderEvent, parseMessage } from "../src/messages.js";

describe("isNewer", () => {
  it("compares the sequence numbers after the last hyphen", () => {
    expect(isNewer("5f0c-762-2", "5f0c-761-1")).toBe(true);
    expect(isNewer("5f0c-761-10", "5f0c-999-9")).toBe(true);
    expect(isNewer("5f0c-761:761:-9", "5f0c-761-10")).toBe(false);
    expect(isNewer("5f0c-761-1", "5f0c-761-1")).toBe(false);
  });

  it("is true for the first event, and for an event of another epoch", () => {
    expect(isNewer("5f0c-761-1", undefined)).toBe(true);
    expect(isNewer("aaaa-1-1", "5f0c-761-9")).toBe(true);
  });
});

describe("parseMessage", () => {
  it("keeps unknown fields", () => {
    expect(parseMessage('{"type":"pong","extra":1}')).toEqual({ type: "pong", extra: 1 });
  });

  it("rejects an event without an id", () => {
    expect(parseMessage('{"type":"new_order","order_id":1}')).toBeUndefined();
  });

  it.each(['{"type":"telepathy"}', "null", "1", '"x"', "{", "[]"])("ignores %s", (text) => {
    expect(parseMessage(text)).toBeUndefined();
  });
});

it("isOrderEvent tells events from other messages", () => {
  expect(isOrderEvent({ type: "order_delete", id: "e-1-1", order_id: 1, order_number: "N1", at: "2026-01-02T03:04:05Z" })).toBe(true);
  expect(isOrderEvent({ type: "ping" })).toBe(false);
});
