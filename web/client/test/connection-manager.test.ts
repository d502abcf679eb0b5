import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ConnectionHandlers, ConnectParams } from "../src/connection.js";
import {
  backoffDelay,
  ConnectionManager,
  type ConnectionManagerOptions,
  type ConnectionStatus,
  type ConnectionUpdate,
  isTerminal,
} from "../src/connection-manager.js";

const OPTIONS: ConnectionManagerOptions = {
  topics: undefined,
  maxAttempts: 5,
  baseDelayMs: 3_000,
  maxDelayMs: 30_000,
  heartbeatMs: 30_000,
  queueLimit: 3,
};
const TOTALS = '{"type":"analytics_update","total_orders":0,"total_revenue":"0","pending_orders":0}';

interface FakeConnection extends ConnectionHandlers {
  params: ConnectParams;
  sent: unknown[];
  writable: boolean;
  closed: boolean;
}

function setUp(options: Partial<ConnectionManagerOptions> = {}) {
  const connections: FakeConnection[] = [];
  const updates: ConnectionUpdate[] = [];
  const fake = {
    random: 1,
    cursor: undefined as string | undefined,
    tokens: ["fresh"] as (string | Error | null)[],
    onStatus: (() => {}) as (status: ConnectionStatus) => void,
  };
  const manager = new ConnectionManager(
    { ...OPTIONS, ...options },
    {
      now: () => Date.now(),
      random: () => fake.random,
      setTimer(ms, callback) {
        const timer = setTimeout(callback, ms);
        return () => clearTimeout(timer);
      },
      open(params, handlers) {
        const connection: FakeConnection = { params, sent: [], writable: true, closed: false, ...handlers };
        connections.push(connection);
        return {
          send(text) {
            if (connection.writable) connection.sent.push(JSON.parse(text));
            return connection.writable;
          },
          close: () => void (connection.closed = true),
        };
      },
      getToken() {
        const token = fake.tokens.shift();
        return token instanceof Error ? Promise.reject(token) : Promise.resolve(token);
      },
      getCursor: () => fake.cursor,
      onUpdate(update) {
        updates.push(update);
        if (update.kind === "status") fake.onStatus(update.status);
      },
    },
  );
  const last = (): FakeConnection => connections.at(-1)!;
  return {
    manager,
    fake,
    connections,
    updates,
    last,
    states: () => updates.flatMap((update) => (update.kind === "status" ? [update.status.state] : [])),
    messages: () => updates.flatMap((update) => (update.kind === "message" ? [update.message.type] : [])),
    online() {
      manager.connect();
      last().onMessage(TOTALS);
    },
  };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("states", () => {
  it("goes from idle to connecting, to online with the first message, and back to idle", () => {
    const { manager, last, states, updates } = setUp();
    expect(manager.status).toEqual({ state: "idle" });
    manager.connect();
    expect(manager.status).toEqual({ state: "connecting", attempt: 0 });
    last().onActivity();
    expect(manager.status.state).toBe("connecting");
    last().onMessage(TOTALS);
    expect(manager.status).toEqual({ state: "online", transport: "websocket", live: true });
    manager.disconnect();
    expect(manager.status).toEqual({ state: "idle" });
    expect(last().closed).toBe(true);
    expect(states()).toEqual(["connecting", "online", "idle"]);
    expect(updates.map(({ kind }) => kind)).toEqual(["open", "status", "status", "message", "status"]);
  });

  it("does not connect twice", () => {
    const { manager, connections, last } = setUp();
    manager.connect();
    manager.connect();
    last().onMessage(TOTALS);
    manager.connect();
    expect(connections).toHaveLength(1);
  });

  it("ignores the events of a connection that it has closed", () => {
    const { manager, connections, messages } = setUp();
    manager.connect();
    manager.disconnect();
    manager.connect();
    connections[0]!.onMessage(TOTALS);
    connections[0]!.onClose(3500, "late");
    expect(manager.status.state).toBe("connecting");
    expect(messages()).toEqual([]);
  });

  it("is not live while the server says that events do not flow, and live again on a new connection", () => {
    const { manager, last, online, states, messages } = setUp();
    const since = "2026-01-01T12:00:00.000Z";
    online();
    last().onMessage(JSON.stringify({ type: "feed_status", live: false, since, reason: "the database cannot be reached" }));
    expect(manager.status).toEqual({ state: "online", transport: "websocket", live: false, since });
    last().onMessage(JSON.stringify({ type: "feed_status", live: true, since }));
    expect(manager.status).toEqual({ state: "online", transport: "websocket", live: true, since });
    last().onMessage(JSON.stringify({ type: "feed_status", live: false, since }));
    expect(messages()).toEqual(["analytics_update", "feed_status", "feed_status", "feed_status"]);
    last().onClose(3001, "drain");
    manager.connect();
    last().onMessage(TOTALS);
    expect(manager.status).toEqual({ state: "online", transport: "websocket", live: true });
    expect(states()).toEqual(["connecting", "online", "online", "online", "online", "waiting", "connecting", "online"]);
  });

  it("stays idle if a listener of the status disconnects because events do not flow", () => {
    const { manager, fake, last, online, messages } = setUp();
    fake.onStatus = (status) => status.state === "online" && !status.live && manager.disconnect();
    online();
    last().onMessage(JSON.stringify({ type: "feed_status", live: false, since: "2026-01-01T12:00:00.000Z" }));
    expect(manager.status).toEqual({ state: "idle" });
    expect(messages()).toEqual(["analytics_update"]);
  });

  it("reports no message after a listener of the status has disconnected", () => {
    const { manager, fake, last, messages } = setUp();
    fake.onStatus = ({ state }) => state === "online" && manager.disconnect();
    manager.connect();
    last().onMessage(TOTALS);
    expect(messages()).toEqual([]);
    expect(manager.status.state).toBe("idle");
    vi.advanceTimersByTime(600_000);
    expect(manager.status.state).toBe("idle");
  });

  it("closes a connection without a message after ten seconds", () => {
    const { manager, last } = setUp();
    manager.connect();
    vi.advanceTimersByTime(9_999);
    expect(manager.status.state).toBe("connecting");
    vi.advanceTimersByTime(1);
    expect(manager.status.state).toBe("waiting");
    expect(last().closed).toBe(true);
  });

  it("ignores unknown messages and invalid JSON", () => {
    const { last, online, messages } = setUp();
    online();
    for (const text of ['{"type":"telepathy"}', "null", "1", '"x"', "{", "[]", '{"type":"new_order"}']) last().onMessage(text);
    expect(messages()).toEqual(["analytics_update"]);
  });
});

describe("back-off", () => {
  it("is 3, 6, 12, 24, 30, 30 … seconds at most", () => {
    expect([1, 2, 3, 4, 5, 6, 60].map((attempt) => backoffDelay(attempt, 3_000, 30_000, 1))).toEqual([
      3_000, 6_000, 12_000, 24_000, 30_000, 30_000, 30_000,
    ]);
  });

  it("has full jitter: anything from zero to that", () => {
    expect(backoffDelay(3, 3_000, 30_000, 0)).toBe(0);
    expect(backoffDelay(3, 3_000, 30_000, 0.25)).toBe(3_000);
  });

  it("retries along the series, says when, and gives up after five retries", () => {
    const { manager, connections, last } = setUp();
    const waits: number[] = [];
    manager.connect();
    for (let attempt = 1; attempt <= 5; attempt++) {
      last().onClose(1006, "");
      if (last().params.transport === "sse") last().onClose(1006, "");
      const { status } = manager;
      if (status.state !== "waiting") throw new Error(status.state);
      expect(status).toMatchObject({ attempt, maxAttempts: 5 });
      waits.push(status.retryAt - Date.now());
      vi.advanceTimersByTime(waits.at(-1)! - 1);
      expect(manager.status.state).toBe("waiting");
      vi.advanceTimersByTime(1);
      expect(manager.status).toEqual({ state: "connecting", attempt });
    }
    expect(waits).toEqual([3_000, 6_000, 12_000, 24_000, 30_000]);
    last().onClose(1006, "");
    last().onClose(1006, "gone");
    expect(manager.status).toEqual({ state: "closed", code: 1006, reason: "gone", terminal: false });
    const before = connections.length;
    vi.advanceTimersByTime(600_000);
    expect(connections).toHaveLength(before);
  });

  it("retries for ever with maxAttempts: Infinity", () => {
    const { manager, last } = setUp({ maxAttempts: Infinity });
    manager.connect();
    for (let attempt = 1; attempt <= 100; attempt++) {
      last().onClose(1006, "");
      if (last().params.transport === "sse") last().onClose(1006, "");
      expect(manager.status).toMatchObject({ state: "waiting", attempt, maxAttempts: Infinity });
      vi.advanceTimersToNextTimer();
    }
    expect(manager.status).toEqual({ state: "connecting", attempt: 100 });
  });

  it("starts again at the first delay once it was online", () => {
    const { manager, last } = setUp();
    manager.connect();
    last().onClose(1006, "");
    vi.advanceTimersByTime(3_000);
    last().onMessage(TOTALS);
    last().onClose(1006, "");
    expect(manager.status).toMatchObject({ state: "waiting", attempt: 1 });
  });

  it("retries at once on connect() while waiting, and keeps the number of attempts", () => {
    const { manager, connections, last } = setUp();
    manager.connect();
    last().onClose(1006, "");
    manager.connect();
    expect(manager.status).toEqual({ state: "connecting", attempt: 1 });
    vi.advanceTimersByTime(9_000);
    expect(connections).toHaveLength(2);
  });
});

describe("close codes", () => {
  it.each([1000, 1001, 1003, 1006, 1008, 1009, 1011, 3000, 3001, 3002, 3005, 3008, 3012, 3013, 3499, 4000, 4499])("%i: reconnects", (code) => {
    const { manager, last, online } = setUp();
    online();
    last().onClose(code, "");
    expect(manager.status.state).toBe("waiting");
  });

  it.each([3500, 3501, 3502, 3504, 3507, 3999])("%i: does not reconnect", (code) => {
    const { manager, connections, last, online, updates } = setUp();
    online();
    last().onClose(code, "no");
    const status = { state: "closed", code, reason: "no", terminal: true };
    expect(updates.at(-1)).toEqual({ kind: "status", status, closeInfo: { code, reason: "no" } });
    vi.advanceTimersByTime(600_000);
    manager.checkConnection();
    expect(connections).toHaveLength(1);
    manager.connect();
    expect(manager.status).toEqual({ state: "connecting", attempt: 0 });
  });

  it("treats some HTTP statuses as terminal", () => {
    expect([400, 401, 403].every(isTerminal)).toBe(true);
    expect([404, 429, 500, 502, 503].some(isTerminal)).toBe(false);
  });
});

describe("heartbeat", () => {
  it("answers a ping", () => {
    const { last, online } = setUp();
    online();
    last().onMessage('{"type":"ping"}');
    expect(last().sent).toEqual([{ type: "pong" }]);
  });

  it("sends a ping every 30 s, and closes a connection that was silent for two intervals", () => {
    const { manager, last, online } = setUp();
    online();
    vi.advanceTimersByTime(30_000);
    expect(last().sent).toEqual([{ type: "ping" }]);
    vi.advanceTimersByTime(30_000);
    expect(last().sent).toHaveLength(2);
    expect(manager.status.state).toBe("online");
    vi.advanceTimersByTime(30_000);
    expect(manager.status.state).toBe("waiting");
    expect(last().closed).toBe(true);
  });

  it("counts any message, and over SSE any byte, as activity", () => {
    const { manager, last, online } = setUp();
    online();
    for (let beat = 0; beat < 10; beat++) {
      vi.advanceTimersByTime(45_000);
      if (beat % 2) last().onMessage('{"type":"pong"}');
      else last().onActivity();
    }
    expect(manager.status.state).toBe("online");
  });
});

describe("checkConnection", () => {
  it("retries at once", () => {
    const { manager, last } = setUp();
    manager.connect();
    last().onClose(1006, "");
    manager.checkConnection();
    expect(manager.status).toEqual({ state: "connecting", attempt: 1 });
  });

  it("connects again after giving up", () => {
    const { manager, last } = setUp({ maxAttempts: 0 });
    manager.connect();
    last().onClose(1006, "");
    expect(manager.status.state).toBe("closed");
    manager.checkConnection();
    expect(manager.status).toEqual({ state: "connecting", attempt: 0 });
  });

  it("has no effect before connect()", () => {
    const { manager, connections } = setUp();
    manager.checkConnection();
    expect(connections).toEqual([]);
  });

  it("sends a ping, and closes the connection if nothing arrives within 5 s", () => {
    const { manager, last, online } = setUp();
    online();
    manager.checkConnection();
    expect(last().sent).toEqual([{ type: "ping" }]);
    vi.advanceTimersByTime(4_999);
    last().onMessage('{"type":"pong"}');
    vi.advanceTimersByTime(5_000);
    expect(manager.status.state).toBe("online");
    manager.checkConnection();
    vi.advanceTimersByTime(5_000);
    expect(manager.status.state).toBe("waiting");
  });
});

describe("Server-Sent Events", () => {
  /** Two WebSockets fail to open, Server-Sent Events work, and a third WebSocket fails too. */
  function blocked() {
    const all = setUp();
    all.manager.connect();
    all.last().onClose(1006, "");
    vi.advanceTimersByTime(3_000);
    all.last().onClose(1006, "");
    all.last().onMessage(TOTALS);
    all.last().onClose(1006, "");
    all.last().onMessage(TOTALS);
    return all;
  }
  const transports = (connections: FakeConnection[]): string[] => connections.map(({ params }) => params.transport);

  it("are used within the same attempt when they work and WebSocket does not", () => {
    const { manager, connections, states, messages } = blocked();
    expect(transports(connections)).toEqual(["websocket", "websocket", "sse", "websocket", "sse"]);
    expect(manager.status).toEqual({ state: "online", transport: "sse", live: true });
    expect(states().filter((state) => state === "waiting")).toHaveLength(1);
    expect(messages()).toEqual(["analytics_update"]);
  });

  it("are replaced by a WebSocket that opens after all", () => {
    const { manager, last } = setUp();
    manager.connect();
    last().onClose(1006, "");
    vi.advanceTimersByTime(3_000);
    last().onClose(1006, "");
    last().onMessage(TOTALS);
    last().onMessage(TOTALS);
    expect(manager.status).toEqual({ state: "online", transport: "websocket", live: true });
    last().onClose(1006, "");
    vi.advanceTimersByTime(3_000);
    last().onClose(1006, "");
    expect(manager.status.state).toBe("waiting");
  });

  it("come second to WebSocket in every attempt, and are used at once when it fails", () => {
    const { manager, connections, last } = blocked();
    last().onClose(1000, "");
    vi.advanceTimersByTime(3_000);
    expect(last().params.transport).toBe("websocket");
    last().onClose(1006, "");
    last().onMessage(TOTALS);
    expect(manager.status).toEqual({ state: "online", transport: "sse", live: true });
    expect(transports(connections).slice(5)).toEqual(["websocket", "sse"]);
    last().onClose(1000, "");
    vi.advanceTimersByTime(3_000);
    last().onMessage(TOTALS);
    expect(manager.status).toEqual({ state: "online", transport: "websocket", live: true });
  });

  it("do not count as working any more once they fail too", () => {
    const { manager, connections, last } = blocked();
    last().onClose(1000, "");
    vi.advanceTimersByTime(3_000);
    last().onClose(1006, "");
    last().onClose(1006, "");
    vi.advanceTimersByTime(6_000);
    last().onClose(1006, "");
    last().onMessage(TOTALS);
    expect(transports(connections).slice(5)).toEqual(["websocket", "sse", "websocket", "sse", "websocket"]);
    expect(manager.status.state).toBe("connecting");
  });

  it("are not tried when the server itself closes a WebSocket", () => {
    const { manager, connections, last } = setUp();
    manager.connect();
    for (const _ of [1, 2, 3]) {
      last().onClose(3001, "draining");
      manager.connect();
    }
    expect(transports(connections)).toEqual(["websocket", "websocket", "websocket", "websocket"]);
  });

  it("report cursors, but not before they are online", () => {
    const { manager, last, updates } = setUp();
    manager.connect();
    last().onClose(1006, "");
    vi.advanceTimersByTime(3_000);
    last().onClose(1006, "");
    last().onCursor("e-1-1");
    last().onMessage(TOTALS);
    last().onClose(1006, "");
    last().onMessage(TOTALS);
    last().onCursor("e-2-2");
    expect(updates.filter(({ kind }) => kind === "cursor")).toEqual([{ kind: "cursor", cursor: "e-2-2" }]);
  });

  it("cannot send", async () => {
    const all = setUp();
    all.manager.connect();
    const waiting = all.manager.send({ type: "ping" });
    all.last().onClose(1006, "");
    vi.advanceTimersByTime(3_000);
    all.last().onClose(1006, "");
    all.last().onMessage(TOTALS);
    all.last().onClose(1006, "");
    all.last().onMessage(TOTALS);
    expect(await waiting).toBe(false);
    expect(await all.manager.send({ type: "ping" })).toBe(false);
    all.last().onMessage('{"type":"ping"}');
    vi.advanceTimersByTime(30_000);
    expect(all.last().sent).toEqual([]);
  });
});

describe("sending", () => {
  const subscribe = (n: number) => ({ type: "subscribe" as const, topics: [`order:${n}`] });

  it("goes out at once when online", async () => {
    const { manager, last, online } = setUp();
    online();
    expect(await manager.send(subscribe(1))).toBe(true);
    expect(last().sent).toEqual([subscribe(1)]);
  });

  it("is queued while offline, and goes out in order, before messages sent by a listener of the status", async () => {
    const { manager, fake, last } = setUp();
    const early = manager.send(subscribe(1));
    manager.connect();
    last().onClose(1006, "");
    const later = manager.send(subscribe(2));
    fake.onStatus = ({ state }) => state === "online" && void manager.send(subscribe(3));
    vi.advanceTimersByTime(3_000);
    last().onMessage(TOTALS);
    expect(await Promise.all([early, later])).toEqual([true, true]);
    expect(last().sent).toEqual([subscribe(1), subscribe(2), subscribe(3)]);
  });

  it("is queued when the connection has ended before its onClose", async () => {
    const { manager, last, online } = setUp();
    online();
    last().writable = false;
    const sent = manager.send(subscribe(1));
    last().onClose(1006, "");
    manager.connect();
    last().onMessage(TOTALS);
    expect(await sent).toBe(true);
    expect(last().sent).toEqual([subscribe(1)]);
  });

  it("fails when the queue is full", async () => {
    const { manager, last } = setUp();
    manager.connect();
    const sent = [1, 2, 3, 4].map((n) => manager.send(subscribe(n)));
    expect(await sent[3]).toBe(false);
    last().onMessage(TOTALS);
    expect(await Promise.all(sent)).toEqual([true, true, true, false]);
    expect(last().sent).toHaveLength(3);
  });

  it.each<[string, (all: ReturnType<typeof setUp>) => void]>([
    ["disconnect()", ({ manager }) => manager.disconnect()],
    ["a terminal close", ({ last }) => last().onClose(3500, "")],
  ])("fails after %s", async (_, end) => {
    const all = setUp();
    all.manager.connect();
    const sent = all.manager.send(subscribe(1));
    end(all);
    expect(await sent).toBe(false);
  });

  it("fails after giving up", async () => {
    const { manager, last } = setUp();
    manager.connect();
    last().onClose(3500, "");
    expect(await manager.send(subscribe(1))).toBe(false);
  });
});

describe("the parameters of a connection", () => {
  it("contain the current cursor", () => {
    const { manager, fake, connections, last } = setUp();
    manager.connect();
    fake.cursor = "e-1-1";
    last().onClose(1006, "");
    vi.advanceTimersByTime(3_000);
    expect(connections.map(({ params }) => params.cursor)).toEqual([undefined, "e-1-1"]);
  });

  it("contain the topics confirmed last", () => {
    const { manager, connections, last } = setUp({ topics: ["orders"] });
    manager.connect();
    last().onMessage('{"type":"subscribed","topics":["orders","order:5"]}');
    last().onClose(3001, "");
    manager.connect();
    expect(connections.map(({ params }) => params.topics)).toEqual([["orders"], ["orders", "order:5"]]);
  });

  it("contain the cursor of resumeFrom", () => {
    const { manager, connections, online } = setUp();
    manager.resumeFrom("e-1-1");
    expect(connections).toEqual([]);
    online();
    manager.resumeFrom("e-1-1");
    expect(connections[0]!.closed).toBe(true);
    expect(connections[1]!.params.cursor).toBe("e-1-1");
    expect(manager.status.state).toBe("connecting");
  });
});

describe("an expiring token", () => {
  const expiring = (expires: string | null) => JSON.stringify({ type: "authenticated", role: "admin", expires });
  const authenticated = (ms: number) => expiring(new Date(Date.now() + ms).toISOString());
  const later = (ms: number) => vi.advanceTimersByTimeAsync(ms);

  it("is refreshed one minute before", async () => {
    const { last, online } = setUp({ heartbeatMs: 10 ** 9 });
    online();
    last().onMessage(authenticated(600_000));
    await later(539_000);
    expect(last().sent).toEqual([]);
    await later(1_000);
    expect(last().sent).toEqual([{ type: "auth", token: "fresh" }]);
  });

  it("is refreshed half-way if it is short-lived, repeatedly", async () => {
    const { fake, last, online } = setUp({ heartbeatMs: 10 ** 9 });
    fake.tokens = ["one", "two"];
    online();
    last().onMessage(authenticated(40_000));
    await later(20_000);
    last().onMessage(authenticated(40_000));
    await later(20_000);
    expect(last().sent).toEqual([{ type: "auth", token: "one" }, { type: "auth", token: "two" }]);
  });

  it.each([
    ["has expired by the local clock", () => authenticated(-5_000)],
    ["has an invalid expiry", () => expiring("soon")],
    ["never expires", () => expiring(null)],
  ])("is not refreshed if it %s", async (_, message) => {
    const { last, online } = setUp({ heartbeatMs: 10 ** 9 });
    online();
    last().onMessage(message());
    await later(3_600_000);
    expect(last().sent).toEqual([]);
  });

  it("keeps its session if getToken fails or returns nothing", async () => {
    const { manager, fake, last, online } = setUp({ heartbeatMs: 10 ** 9 });
    fake.tokens = [new Error("signed out"), null];
    online();
    last().onMessage(authenticated(60_000));
    await later(30_000);
    last().onMessage(authenticated(60_000));
    await later(30_000);
    expect(last().sent).toEqual([]);
    expect(manager.status.state).toBe("online");
  });

  it("is not sent on another connection than the one that it was fetched for", async () => {
    const { manager, last, online } = setUp({ heartbeatMs: 10 ** 9 });
    online();
    last().onMessage(authenticated(60_000));
    vi.advanceTimersByTime(30_000);
    last().onClose(3001, "");
    manager.connect();
    last().onMessage(TOTALS);
    await later(0);
    expect(last().sent).toEqual([]);
  });

  it("may expire later than setTimeout allows", async () => {
    const { last, online } = setUp({ heartbeatMs: 10 ** 9 });
    online();
    last().onMessage(authenticated(10 * 365 * 86_400_000));
    await later(60_000);
    expect(last().sent).toEqual([]);
  });
});
