import { describe, expect, it } from "vitest";
import { isNewer, parse } from "../src/frames.js";
import { Inbox } from "../src/inbox.js";
import { SseParser } from "../src/sse.js";

describe("the order within one order", () => {
  it("is that of the number after the last hyphen", () => {
    expect(isNewer("5f0c-762-2", "5f0c-761-1")).toBe(true);
    expect(isNewer("5f0c-761-10", "5f0c-999-9")).toBe(true);
    expect(isNewer("5f0c-761:761:-9", "5f0c-761-10")).toBe(false);
    expect(isNewer("5f0c-761-1", "5f0c-761-1")).toBe(false);
  });

  it("begins with the first event, and anew in another epoch", () => {
    expect(isNewer("5f0c-761-1", undefined)).toBe(true);
    expect(isNewer("aaaa-1-1", "5f0c-761-9")).toBe(true);
  });
});

describe("frames", () => {
  it("are taken as they are, unknown fields and all", () => {
    expect(parse('{"type":"pong","extra":1}')).toEqual({ type: "pong", extra: 1 });
  });

  it("need an id if they are events", () => {
    expect(parse('{"type":"new_order","order_id":1}')).toBeUndefined();
  });
});

describe("inbox", () => {
  it("drops twins and follows the stream all the same", () => {
    const inbox = new Inbox();
    expect([inbox.accept("a"), inbox.accept("b"), inbox.accept("a")]).toEqual([true, true, false]);
    expect(inbox.cursor).toBe("a");
  });

  it("begins where it is told to", () => {
    const inbox = new Inbox("a");
    expect([inbox.cursor, inbox.covers("a"), inbox.accept("a")]).toEqual(["a", true, false]);
  });

  it("remembers more than a resume replays, and forgets what is older", () => {
    const inbox = new Inbox();
    for (let n = 0; n <= 20_000; n++) inbox.accept(`e-${n}`);
    expect([inbox.covers("e-0"), inbox.covers("e-1"), inbox.covers("e-20000")]).toEqual([false, true, true]);
  });

  it("has no cursor once that has lost its meaning, and drops twins still", () => {
    const inbox = new Inbox("a");
    inbox.forget();
    expect([inbox.cursor, inbox.accept("a")]).toEqual([undefined, false]);
  });
});

describe("event stream", () => {
  const STREAM =
    'retry: 1000\n\nevent: analytics_update\ndata: {"n":1}\n\nid: e-1-0\n\n: ping\n\nevent: new_order\nid: e-1-1\ndata: {"n":"Иван"}\n\ndata\ndata:a\ndata: b\n\ndata: unfinished';

  const told = (chunks: string[]): string[] => {
    const all: string[] = [];
    const parser = new SseParser({ frame: (text) => all.push(`frame ${text}`), position: (cursor) => all.push(`position ${cursor}`) });
    for (const chunk of chunks) parser.feed(chunk);
    return all;
  };
  const EXPECTED = ['frame {"n":1}', "position e-1-0", 'frame {"n":"Иван"}', "frame \na\nb"];

  it("is taken apart", () => {
    expect(told([STREAM])).toEqual(EXPECTED);
  });

  it.each(["\n", "\r\n", "\r"])("wherever it is cut, with lines that end in %j", (end) => {
    const text = STREAM.replaceAll("\n", end);
    for (let cut = 0; cut <= text.length; cut++) expect(told([text.slice(0, cut), text.slice(cut)])).toEqual(EXPECTED);
    expect(told([...text])).toEqual(EXPECTED);
  });
});
