import { describe, expect, it } from "vitest";
import { isEvent, isIncluded, isNewer, isOrderEvent, parseMessage, type StreamEvent } from "../src/messages.js";

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

describe("isIncluded", () => {
  it.each([
    ["5f0c12ab-759-2731524096-1", true],
    ["5f0c12ab-760-2731524096-1", false],
    ["5f0c12ab-761-2731524096-1", true],
    ["5f0c12ab-764-2731524096-1", false],
    ["5f0c12ab-765-2731524096-1", true],
    ["5f0c12ab-766-2731524096-1", false],
    ["5f0c12ab-1000-2731524096-1", false],
  ])("asks the position for the transaction of %s", (id, expected) => {
    expect(isIncluded(id, "5f0c12ab-s760.766.760.764")).toBe(expected);
    expect(isIncluded(id, "5f0c12ab-s760.766.760.764~765-2731524096-9")).toBe(expected);
  });

  it("knows positions without running transactions, and of an empty journal", () => {
    expect(isIncluded("5f0c12ab-765-1-1", "5f0c12ab-s766.766")).toBe(true);
    expect(isIncluded("5f0c12ab-766-1-1", "5f0c12ab-s766.766")).toBe(false);
    expect(isIncluded("5f0c12ab-766-1-1", "5f0c12ab-s1.1")).toBe(false);
  });

  it("is true in another epoch: all is fetched anew then", () => {
    expect(isIncluded("aaaaaaaa-766-1-1", "5f0c12ab-s1.1")).toBe(true);
  });
});

describe("parseMessage", () => {
  it("keeps unknown fields", () => {
    expect(parseMessage('{"type":"pong","extra":1}')).toEqual({ type: "pong", extra: 1 });
  });

  it.each(["new_order", "row_insert"])("rejects a %s without an id", (type) => {
    expect(parseMessage(`{"type":"${type}","order_id":1,"key":"1"}`)).toBeUndefined();
  });

  it("keeps an id beyond 2^53 and a null field as they come", () => {
    const event = { type: "new_order", id: "e-1-1", order_id: "9007199254740993", key: "9007199254740993", customer_name: null, total: null };
    expect(parseMessage(JSON.stringify(event))).toEqual(event);
  });

  it.each(['{"type":"telepathy"}', "null", "1", '"x"', "{", "[]"])("ignores %s", (text) => {
    expect(parseMessage(text)).toBeUndefined();
  });
});

it("isOrderEvent and isEvent tell events of orders, of streams, and other messages apart", () => {
  const stock: StreamEvent = { type: "row_update", id: "e-1-1", stream: "stock", key: "42", at: "2026-01-02T03:04:05Z" };
  const deleted = { type: "order_delete", id: "e-1-2", order_id: "a b", key: "a b", at: "2026-01-02T03:04:05Z" } as const;
  expect([deleted, stock, { type: "ping" } as const].map((message) => [isEvent(message), isOrderEvent(message)])).toEqual([
    [true, true],
    [true, false],
    [false, false],
  ]);
});
