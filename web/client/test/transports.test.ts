import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ConnectionHandlers } from "../src/connection.js";
import { openSse, openWebSocket } from "../src/transports.js";
import { FakeServer, settled } from "./fake-server.js";

let server: FakeServer;
let log: string[];
const handlers: ConnectionHandlers = {
  onMessage: (text) => log.push(`message ${(JSON.parse(text) as { type: string }).type}`),
  onCursor: (cursor) => log.push(`cursor ${cursor}`),
  onActivity: () => log.push("activity"),
  onClose: (code) => log.push(`close ${code}`),
};

beforeEach(() => {
  server = new FakeServer();
  server.install();
  log = [];
});
afterEach(() => void vi.unstubAllGlobals());

describe("openWebSocket", () => {
  const url = new URL("wss://shop.example/api/ws");

  it("sends only while open, and reports messages and the close code", async () => {
    const connection = openWebSocket(url, null, handlers);
    expect(connection.send('{"type":"ping"}')).toBe(false);
    await settled();
    expect(connection.send('{"type":"ping"}')).toBe(true);
    await settled();
    server.last.close(3001);
    await settled();
    expect(connection.send('{"type":"ping"}')).toBe(false);
    expect(server.last.received).toEqual([{ type: "ping" }]);
    expect(log).toEqual(["message analytics_update", "message pong", "close 3001"]);
  });

  it("offers a subprotocol with the token, and none without", async () => {
    openWebSocket(url, "secret", handlers);
    openWebSocket(url, null, handlers);
    await settled();
    expect(server.sessions.map(({ protocols }) => protocols)).toEqual([["orderwire", "bearer.secret"], []]);
  });
});

describe("openSse", () => {
  const url = new URL("https://shop.example/api/sse");

  it("reports activity and messages, cannot send, and ends the request on close", async () => {
    const connection = openSse(url, null, handlers);
    await settled();
    expect(log).toEqual(["activity", "message analytics_update"]);
    server.last.comment!();
    await settled();
    expect(log).toEqual(["activity", "message analytics_update", "activity"]);
    expect(connection.send('{"type":"ping"}')).toBe(false);
    connection.close();
    await settled();
    expect(server.live).toEqual([]);
  });

  it.each([
    ["the end of the stream", undefined, 1000],
    ["a status of the server", () => Response.json({ error: { code: "forbidden", message: "" } }, { status: 403 }), 403],
    ["an expired token", () => Response.json({ error: { code: "token_expired", message: "" } }, { status: 401 }), 3005],
    ["the status of a proxy", () => new Response("<h1>Forbidden</h1>", { status: 403 }), 1006],
    ["a page that is no stream", () => new Response("<h1>Wi-Fi</h1>", { headers: { "Content-Type": "text/html" } }), 1006],
  ])("maps %s to a close code", async (_, answer, code) => {
    server.sseAnswer = answer;
    openSse(url, null, handlers);
    await settled();
    if (!answer) server.last.close(1000);
    await settled();
    expect(log.at(-1)).toBe(`close ${code}`);
  });
});
