import { expect, it } from "vitest";
import { SseParser } from "../src/sse-parser.js";

const STREAM =
  'retry: 1000\n\nevent: analytics_update\ndata: {"n":1}\n\nid: e-1-0\n\n: ping\n\nevent: new_order\nid: e-1-1\ndata: {"n":"Иван"}\n\ndata\ndata:a\ndata: b\n\ndata: unfinished';
const EXPECTED = ['message {"n":1}', "cursor e-1-0", 'message {"n":"Иван"}', "message \na\nb"];

function parse(chunks: string[]): string[] {
  const log: string[] = [];
  const parser = new SseParser({ onMessage: (text) => log.push(`message ${text}`), onCursor: (cursor) => log.push(`cursor ${cursor}`) });
  for (const chunk of chunks) parser.feed(chunk);
  return log;
}

it("reports data and cursors", () => {
  expect(parse([STREAM])).toEqual(EXPECTED);
});

it.each(["\n", "\r\n", "\r"])("gives the same result however the stream is split, with %j line ends", (end) => {
  const text = STREAM.replaceAll("\n", end);
  for (let cut = 0; cut <= text.length; cut++) expect(parse([text.slice(0, cut), text.slice(cut)])).toEqual(EXPECTED);
  expect(parse([...text])).toEqual(EXPECTED);
});
