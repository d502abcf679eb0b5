import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { backOff, Core, type CoreOptions, isTerminal, type Signal, type Status } from "../src/core.js";
import type { LineEvents, Target } from "../src/line.js";

const OPTIONS: CoreOptions = {
  topics: undefined,
  maxAttempts: 5,
  baseDelayMs: 3_000,
  maxDelayMs: 30_000,
  heartbeatMs: 30_000,
  queueLimit: 3,
};
const TOTALS = '{"type":"analytics_update","total_orders":0,"total_revenue":"0","pending_orders":0}';

interface Dial extends LineEvents {
  target: Target;
  written: unknown[];
  writable: boolean;
  left: boolean;
}

function world(options: Partial<CoreOptions> = {}) {
  const dials: Dial[] = [];
  const signals: Signal[] = [];
  const my = { random: 1, cursor: undefined as string | undefined, tokens: ["fresh"] as (string | Error | null)[], onStatus: (_: Status) => {} };
  const core = new Core(
    { ...OPTIONS, ...options },
    {
      now: () => Date.now(),
      random: () => my.random,
      timer(ms, run) {
        const handle = setTimeout(run, ms);
        return () => clearTimeout(handle);
      },
      dial(target, events) {
        const dial: Dial = { target, written: [], writable: true, left: false, ...events };
        dials.push(dial);
        return {
          write(text) {
            if (dial.writable) dial.written.push(JSON.parse(text));
            return dial.writable;
          },
          close: () => void (dial.left = true),
        };
      },
      token() {
        const token = my.tokens.shift();
        return token instanceof Error ? Promise.reject(token) : Promise.resolve(token);
      },
      cursor: () => my.cursor,
      signal(signal) {
        signals.push(signal);
        if (signal.kind === "status") my.onStatus(signal.status);
      },
    },
  );
  const line = (): Dial => dials.at(-1)!;
  return {
    core,
    my,
    dials,
    signals,
    line,
    states: () => signals.flatMap((signal) => (signal.kind === "status" ? [signal.status.state] : [])),
    frames: () => signals.flatMap((signal) => (signal.kind === "frame" ? [signal.frame.type] : [])),
    online() {
      core.connect();
      line().frame(TOTALS);
    },
  };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("states", () => {
  it("goes from idle by connecting to online with the first frame, and back to idle", () => {
    const { core, line, states, signals } = world();
    expect(core.status).toEqual({ state: "idle" });
    core.connect();
    expect(core.status).toEqual({ state: "connecting", attempt: 0 });
    line().alive();
    expect(core.status.state).toBe("connecting");
    line().frame(TOTALS);
    expect(core.status).toEqual({ state: "online", transport: "websocket" });
    core.disconnect();
    expect(core.status).toEqual({ state: "idle" });
    expect(line().left).toBe(true);
    expect(states()).toEqual(["connecting", "online", "idle"]);
    expect(signals.map(({ kind }) => kind)).toEqual(["dial", "status", "status", "frame", "status"]);
  });

  it("does not connect twice", () => {
    const { core, dials, line } = world();
    core.connect();
    core.connect();
    line().frame(TOTALS);
    core.connect();
    expect(dials).toHaveLength(1);
  });

  it("ignores what a line says after it was left", () => {
    const { core, dials, frames } = world();
    core.connect();
    core.disconnect();
    core.connect();
    dials[0]!.frame(TOTALS);
    dials[0]!.closed(3500, "late");
    expect(core.status.state).toBe("connecting");
    expect(frames()).toEqual([]);
  });

  it("tells no frame to somebody who hung up on being told that we are online", () => {
    const { core, my, line, frames } = world();
    my.onStatus = ({ state }) => state === "online" && core.disconnect();
    core.connect();
    line().frame(TOTALS);
    expect(frames()).toEqual([]);
    expect(core.status.state).toBe("idle");
    vi.advanceTimersByTime(600_000);
    expect(core.status.state).toBe("idle");
  });

  it("gives a line that never says anything ten seconds", () => {
    const { core, line } = world();
    core.connect();
    vi.advanceTimersByTime(9_999);
    expect(core.status.state).toBe("connecting");
    vi.advanceTimersByTime(1);
    expect(core.status.state).toBe("waiting");
    expect(line().left).toBe(true);
  });

  it("ignores frames that it does not know, and what is no frame", () => {
    const { line, online, frames } = world();
    online();
    for (const text of ['{"type":"telepathy"}', "null", "1", '"x"', "{", "[]", '{"type":"new_order"}']) line().frame(text);
    expect(frames()).toEqual(["analytics_update"]);
  });
});

describe("back-off", () => {
  it("is 3, 6, 12, 24, 30, 30 … seconds at most", () => {
    expect([1, 2, 3, 4, 5, 6, 60].map((attempt) => backOff(attempt, 3_000, 30_000, 1))).toEqual([
      3_000, 6_000, 12_000, 24_000, 30_000, 30_000, 30_000,
    ]);
  });

  it("has full jitter: anything from nothing to that", () => {
    expect(backOff(3, 3_000, 30_000, 0)).toBe(0);
    expect(backOff(3, 3_000, 30_000, 0.25)).toBe(3_000);
  });

  it("retries along the series, says when, and gives up after five retries", () => {
    const { core, dials, line } = world();
    const waits: number[] = [];
    core.connect();
    for (let attempt = 1; attempt <= 5; attempt++) {
      line().closed(1006, "");
      if (line().target.transport === "sse") line().closed(1006, "");
      const { status } = core;
      if (status.state !== "waiting") throw new Error(status.state);
      expect(status).toMatchObject({ attempt, maxAttempts: 5 });
      waits.push(status.retryAt - Date.now());
      vi.advanceTimersByTime(waits.at(-1)! - 1);
      expect(core.status.state).toBe("waiting");
      vi.advanceTimersByTime(1);
      expect(core.status).toEqual({ state: "connecting", attempt });
    }
    expect(waits).toEqual([3_000, 6_000, 12_000, 24_000, 30_000]);
    line().closed(1006, "");
    line().closed(1006, "gone");
    expect(core.status).toEqual({ state: "closed", code: 1006, reason: "gone", terminal: false });
    const before = dials.length;
    vi.advanceTimersByTime(600_000);
    expect(dials).toHaveLength(before);
  });

  it("goes on for ever if told to", () => {
    const { core, line } = world({ maxAttempts: Infinity });
    core.connect();
    for (let attempt = 1; attempt <= 100; attempt++) {
      line().closed(1006, "");
      if (line().target.transport === "sse") line().closed(1006, "");
      expect(core.status).toMatchObject({ state: "waiting", attempt, maxAttempts: Infinity });
      vi.advanceTimersToNextTimer();
    }
    expect(core.status).toEqual({ state: "connecting", attempt: 100 });
  });

  it("starts anew once it was online", () => {
    const { core, line } = world();
    core.connect();
    line().closed(1006, "");
    vi.advanceTimersByTime(3_000);
    line().frame(TOTALS);
    line().closed(1006, "");
    expect(core.status).toMatchObject({ state: "waiting", attempt: 1 });
  });

  it("tries at once when asked while waiting, without forgetting the attempts", () => {
    const { core, dials, line } = world();
    core.connect();
    line().closed(1006, "");
    core.connect();
    expect(core.status).toEqual({ state: "connecting", attempt: 1 });
    vi.advanceTimersByTime(9_000);
    expect(dials).toHaveLength(2);
  });
});

describe("close codes", () => {
  it.each([1000, 1001, 1003, 1006, 1008, 1009, 1011, 3000, 3001, 3002, 3005, 3008, 3012, 3013, 3499, 4000, 4499])("%i: comes back", (code) => {
    const { core, line, online } = world();
    online();
    line().closed(code, "");
    expect(core.status.state).toBe("waiting");
  });

  it.each([3500, 3501, 3502, 3504, 3507, 3999])("%i: does not come back", (code) => {
    const { core, dials, line, online, signals } = world();
    online();
    line().closed(code, "no");
    const status = { state: "closed", code, reason: "no", terminal: true };
    expect(signals.at(-1)).toEqual({ kind: "status", status, closing: { code, reason: "no" } });
    vi.advanceTimersByTime(600_000);
    core.wake();
    expect(dials).toHaveLength(1);
    core.connect();
    expect(core.status).toEqual({ state: "connecting", attempt: 0 });
  });

  it("takes these statuses of HTTP for the server's no", () => {
    expect([400, 401, 403].every(isTerminal)).toBe(true);
    expect([404, 429, 500, 502, 503].some(isTerminal)).toBe(false);
  });
});

describe("heartbeat", () => {
  it("answers a ping", () => {
    const { line, online } = world();
    online();
    line().frame('{"type":"ping"}');
    expect(line().written).toEqual([{ type: "pong" }]);
  });

  it("sends its own every 30 s, and leaves a line that was silent for two intervals", () => {
    const { core, line, online } = world();
    online();
    vi.advanceTimersByTime(30_000);
    expect(line().written).toEqual([{ type: "ping" }]);
    vi.advanceTimersByTime(30_000);
    expect(line().written).toHaveLength(2);
    expect(core.status.state).toBe("online");
    vi.advanceTimersByTime(30_000);
    expect(core.status.state).toBe("waiting");
    expect(line().left).toBe(true);
  });

  it("takes any frame, and on SSE any byte, for a sign of life", () => {
    const { core, line, online } = world();
    online();
    for (let beat = 0; beat < 10; beat++) {
      vi.advanceTimersByTime(45_000);
      if (beat % 2) line().frame('{"type":"pong"}');
      else line().alive();
    }
    expect(core.status.state).toBe("online");
  });
});

describe("waking", () => {
  it("tries at once", () => {
    const { core, line } = world();
    core.connect();
    line().closed(1006, "");
    core.wake();
    expect(core.status).toEqual({ state: "connecting", attempt: 1 });
  });

  it("starts anew after giving up", () => {
    const { core, line } = world({ maxAttempts: 0 });
    core.connect();
    line().closed(1006, "");
    expect(core.status.state).toBe("closed");
    core.wake();
    expect(core.status).toEqual({ state: "connecting", attempt: 0 });
  });

  it("does not connect what nobody asked to be connected", () => {
    const { core, dials } = world();
    core.wake();
    expect(dials).toEqual([]);
  });

  it("asks a line whether it is alive, and leaves it when it does not say so", () => {
    const { core, line, online } = world();
    online();
    core.wake();
    expect(line().written).toEqual([{ type: "ping" }]);
    vi.advanceTimersByTime(4_999);
    line().frame('{"type":"pong"}');
    vi.advanceTimersByTime(5_000);
    expect(core.status.state).toBe("online");
    core.wake();
    vi.advanceTimersByTime(5_000);
    expect(core.status.state).toBe("waiting");
  });
});

describe("Server-Sent Events", () => {
  /** Two WebSockets do not open, Server-Sent Events do, and WebSocket does not even then. */
  function blocked() {
    const my = world();
    my.core.connect();
    my.line().closed(1006, "");
    vi.advanceTimersByTime(3_000);
    my.line().closed(1006, "");
    my.line().frame(TOTALS);
    my.line().closed(1006, "");
    my.line().frame(TOTALS);
    return my;
  }
  const transports = (dials: Dial[]): string[] => dials.map(({ target }) => target.transport);

  it("are used when WebSocket does not open although they do, within one attempt", () => {
    const { core, dials, states, frames } = blocked();
    expect(transports(dials)).toEqual(["websocket", "websocket", "sse", "websocket", "sse"]);
    expect(core.status).toEqual({ state: "online", transport: "sse" });
    expect(states().filter((state) => state === "waiting")).toHaveLength(1);
    expect(frames()).toEqual(["analytics_update"]);
  });

  it("are left for WebSocket if that was only refused for a while", () => {
    const { core, line } = world();
    core.connect();
    line().closed(1006, "");
    vi.advanceTimersByTime(3_000);
    line().closed(1006, "");
    line().frame(TOTALS);
    line().frame(TOTALS);
    expect(core.status).toEqual({ state: "online", transport: "websocket" });
    line().closed(1006, "");
    vi.advanceTimersByTime(3_000);
    line().closed(1006, "");
    expect(core.status.state).toBe("waiting");
  });

  it("give way to WebSocket at every attempt, and take over again at once if it does not open", () => {
    const { core, dials, line } = blocked();
    line().closed(1000, "");
    vi.advanceTimersByTime(3_000);
    expect(line().target.transport).toBe("websocket");
    line().closed(1006, "");
    line().frame(TOTALS);
    expect(core.status).toEqual({ state: "online", transport: "sse" });
    expect(transports(dials).slice(5)).toEqual(["websocket", "sse"]);
    line().closed(1000, "");
    vi.advanceTimersByTime(3_000);
    line().frame(TOTALS);
    expect(core.status).toEqual({ state: "online", transport: "websocket" });
  });

  it("are no proof any more once they do not open either", () => {
    const { core, dials, line } = blocked();
    line().closed(1000, "");
    vi.advanceTimersByTime(3_000);
    line().closed(1006, "");
    line().closed(1006, "");
    vi.advanceTimersByTime(6_000);
    line().closed(1006, "");
    line().frame(TOTALS);
    expect(transports(dials).slice(5)).toEqual(["websocket", "sse", "websocket", "sse", "websocket"]);
    expect(core.status.state).toBe("connecting");
  });

  it("are not asked for when the server itself closes a WebSocket", () => {
    const { core, dials, line } = world();
    core.connect();
    for (const _ of [1, 2, 3]) {
      line().closed(3001, "draining");
      core.connect();
    }
    expect(transports(dials)).toEqual(["websocket", "websocket", "websocket", "websocket"]);
  });

  it("tell their position, but not before they are what is used", () => {
    const { core, line, signals } = world();
    core.connect();
    line().closed(1006, "");
    vi.advanceTimersByTime(3_000);
    line().closed(1006, "");
    line().position("e-1-1");
    line().frame(TOTALS);
    line().closed(1006, "");
    line().frame(TOTALS);
    line().position("e-2-2");
    expect(signals.filter(({ kind }) => kind === "position")).toEqual([{ kind: "position", cursor: "e-2-2" }]);
  });

  it("carry nothing to the server, and say so", async () => {
    const my = world();
    my.core.connect();
    const waiting = my.core.send({ type: "ping" });
    my.line().closed(1006, "");
    vi.advanceTimersByTime(3_000);
    my.line().closed(1006, "");
    my.line().frame(TOTALS);
    my.line().closed(1006, "");
    my.line().frame(TOTALS);
    expect(await waiting).toBe(false);
    expect(await my.core.send({ type: "ping" })).toBe(false);
    my.line().frame('{"type":"ping"}');
    vi.advanceTimersByTime(30_000);
    expect(my.line().written).toEqual([]);
  });
});

describe("sending", () => {
  const subscribe = (n: number) => ({ type: "subscribe" as const, topics: [`order:${n}`] });

  it("goes out at once when online", async () => {
    const { core, line, online } = world();
    online();
    expect(await core.send(subscribe(1))).toBe(true);
    expect(line().written).toEqual([subscribe(1)]);
  });

  it("waits while offline and goes out in order, before what is sent on being told that we are online", async () => {
    const { core, my, line } = world();
    const early = core.send(subscribe(1));
    core.connect();
    line().closed(1006, "");
    const later = core.send(subscribe(2));
    my.onStatus = ({ state }) => state === "online" && void core.send(subscribe(3));
    vi.advanceTimersByTime(3_000);
    line().frame(TOTALS);
    expect(await Promise.all([early, later])).toEqual([true, true]);
    expect(line().written).toEqual([subscribe(1), subscribe(2), subscribe(3)]);
  });

  it("waits for the next line when this one has ended without having said so", async () => {
    const { core, line, online } = world();
    online();
    line().writable = false;
    const sent = core.send(subscribe(1));
    line().closed(1006, "");
    core.connect();
    line().frame(TOTALS);
    expect(await sent).toBe(true);
    expect(line().written).toEqual([subscribe(1)]);
  });

  it("is refused when too much waits", async () => {
    const { core, line } = world();
    core.connect();
    const sent = [1, 2, 3, 4].map((n) => core.send(subscribe(n)));
    expect(await sent[3]).toBe(false);
    line().frame(TOTALS);
    expect(await Promise.all(sent)).toEqual([true, true, true, false]);
    expect(line().written).toHaveLength(3);
  });

  it.each<[string, (my: ReturnType<typeof world>) => void]>([
    ["is disconnected", ({ core }) => core.disconnect()],
    ["was told not to come back", ({ line }) => line().closed(3500, "")],
  ])("is given up when the core %s", async (_, end) => {
    const my = world();
    my.core.connect();
    const sent = my.core.send(subscribe(1));
    end(my);
    expect(await sent).toBe(false);
  });

  it("is refused after giving up", async () => {
    const { core, line } = world();
    core.connect();
    line().closed(3500, "");
    expect(await core.send(subscribe(1))).toBe(false);
  });
});

describe("where to connect", () => {
  it("resumes with the cursor of the moment", () => {
    const { core, my, dials, line } = world();
    core.connect();
    my.cursor = "e-1-1";
    line().closed(1006, "");
    vi.advanceTimersByTime(3_000);
    expect(dials.map(({ target }) => target.cursor)).toEqual([undefined, "e-1-1"]);
  });

  it("comes back with the topics that it was last told", () => {
    const { core, dials, line } = world({ topics: ["orders"] });
    core.connect();
    line().frame('{"type":"subscribed","topics":["orders","order:5"]}');
    line().closed(3001, "");
    core.connect();
    expect(dials.map(({ target }) => target.topics)).toEqual([["orders"], ["orders", "order:5"]]);
  });

  it("leaves its line for one that replays from further back", () => {
    const { core, dials, online } = world();
    core.resumeFrom("e-1-1");
    expect(dials).toEqual([]);
    online();
    core.resumeFrom("e-1-1");
    expect(dials[0]!.left).toBe(true);
    expect(dials[1]!.target.cursor).toBe("e-1-1");
    expect(core.status.state).toBe("connecting");
  });
});

describe("a token that runs out", () => {
  const authenticated = (ms: number) => JSON.stringify({ type: "authenticated", role: "admin", expires: new Date(Date.now() + ms).toISOString() });
  const later = (ms: number) => vi.advanceTimersByTimeAsync(ms);

  it("is renewed in the session a minute before", async () => {
    const { line, online } = world({ heartbeatMs: 10 ** 9 });
    online();
    line().frame(authenticated(600_000));
    await later(539_000);
    expect(line().written).toEqual([]);
    await later(1_000);
    expect(line().written).toEqual([{ type: "auth", token: "fresh" }]);
  });

  it("is renewed half-way if it is short-lived, again and again", async () => {
    const { my, line, online } = world({ heartbeatMs: 10 ** 9 });
    my.tokens = ["one", "two"];
    online();
    line().frame(authenticated(40_000));
    await later(20_000);
    line().frame(authenticated(40_000));
    await later(20_000);
    expect(line().written).toEqual([{ type: "auth", token: "one" }, { type: "auth", token: "two" }]);
  });

  it.each([["has run out by our clock", -5_000], ["has no end", NaN]])("is left to the server if it %s", async (_, ms) => {
    const { line, online } = world({ heartbeatMs: 10 ** 9 });
    online();
    line().frame(ms ? authenticated(ms) : '{"type":"authenticated","role":"admin","expires":"soon"}');
    await later(3_600_000);
    expect(line().written).toEqual([]);
  });

  it("lives on without one if there is none to be had", async () => {
    const { core, my, line, online } = world({ heartbeatMs: 10 ** 9 });
    my.tokens = [new Error("signed out"), null];
    online();
    line().frame(authenticated(60_000));
    await later(30_000);
    line().frame(authenticated(60_000));
    await later(30_000);
    expect(line().written).toEqual([]);
    expect(core.status.state).toBe("online");
  });

  it("is not sent on another line than the one that it was fetched for", async () => {
    const { core, line, online } = world({ heartbeatMs: 10 ** 9 });
    online();
    line().frame(authenticated(60_000));
    vi.advanceTimersByTime(30_000);
    line().closed(3001, "");
    core.connect();
    line().frame(TOTALS);
    await later(0);
    expect(line().written).toEqual([]);
  });

  it("may live longer than a timer can run", async () => {
    const { line, online } = world({ heartbeatMs: 10 ** 9 });
    online();
    line().frame(authenticated(10 * 365 * 86_400_000));
    await later(60_000);
    expect(line().written).toEqual([]);
  });
});
