import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type ConnectionStatus, type Options, type ServerMessage, WebSocketService, wsService } from "../src/orderwire.js";
import { FakeServer, order, settled } from "./fake-server.js";

let server: FakeServer;
const started: WebSocketService[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] });
  vi.spyOn(Math, "random").mockReturnValue(1);
  server = new FakeServer();
  server.install();
});
afterEach(() => {
  for (const service of started.splice(0)) service.disconnect();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

function start(options: Options = {}) {
  const service = new WebSocketService({ url: "ws://shop.example/api/ws", ...options });
  started.push(service);
  const log: string[] = [];
  const messages: ServerMessage[] = [];
  service.onConnect(() => log.push("connect"));
  service.onDisconnect(({ code }) => log.push(`disconnect ${code}`));
  service.onGap(() => log.push("gap"));
  service.onMessage((message) => {
    messages.push(message);
    log.push("order_number" in message ? message.order_number! : message.type);
  });
  service.connect();
  return { service, log, orders: () => messages.flatMap((message) => ("order_id" in message ? [message.order_id] : [])) };
}

/** Advances time to the next retry. Math.random is 1 here, so the first one comes after exactly 3 s. */
async function retried(ms = 3_000): Promise<void> {
  await settled();
  vi.advanceTimersByTime(ms);
  await settled();
}

describe("connecting", () => {
  it("calls onConnect before the first message", async () => {
    const { service, log } = start();
    expect(service.isConnected()).toBe(false);
    await settled();
    expect(service.isConnected()).toBe(true);
    expect(log).toEqual(["connect", "analytics_update"]);
    expect(service.totals).toMatchObject({ total_orders: 0 });
    service.disconnect();
    expect(service.isConnected()).toBe(false);
    expect(log.at(-1)).toBe("disconnect 1000");
    await settled();
    expect(server.live).toEqual([]);
  });

  it("connects to the page's own server by default", async () => {
    vi.stubGlobal("location", new URL("https://shop.example/admin/dashboard"));
    const service = new WebSocketService();
    started.push(service);
    service.connect();
    await settled();
    expect(server.last.url.href).toBe("wss://shop.example/api/ws");
  });

  it("works without a DOM", async () => {
    for (const name of ["window", "document", "location", "addEventListener"]) vi.stubGlobal(name, undefined);
    const { service } = start();
    await settled();
    expect(service.isConnected()).toBe(true);
  });

  it("sends the topics in the URL", async () => {
    const { service } = start({ topics: ["orders", "order:5"] });
    await settled();
    expect(server.last.url.searchParams.get("topics")).toBe("orders,order:5");
    server.last.send({ type: "subscribed", topics: ["orders"] });
    await settled();
    expect(service.topics).toEqual(["orders"]);
  });

  it("calls each listener until it unsubscribes, also after another one has thrown", async () => {
    const reported: unknown[] = [];
    const report = (error: unknown): void => void reported.push(error);
    process.prependOnceListener("uncaughtException", report);
    const others = process.listeners("uncaughtException").filter((listener) => listener !== report);
    for (const listener of others) process.off("uncaughtException", listener);

    const { service, log } = start();
    const statuses: ConnectionStatus["state"][] = [];
    const more = [service.onMessage(() => log.push("again")), service.onStatus(({ state }) => statuses.push(state))];
    await settled();
    const bug = new Error("a listener's bug");
    const unsubscribe = service.onMessage(() => {
      throw bug;
    });
    service.onMessage(() => log.push("after the bug"));
    server.publish(order(1));
    await settled();
    expect(log.slice(-3)).toEqual(["ORD-2024-1", "again", "after the bug"]);
    expect(reported).toEqual([bug]);
    unsubscribe();
    for (const off of more) off();
    server.publish(order(2));
    await settled();
    expect(log.slice(-2)).toEqual(["ORD-2024-2", "after the bug"]);
    expect(statuses).toEqual(["online"]);
    for (const listener of others) process.on("uncaughtException", listener);
  });

  it("has a default instance that does nothing before connect()", async () => {
    await settled();
    expect(wsService.status).toEqual({ state: "idle" });
    wsService.configure({ url: "ws://other.example/api/ws", maxAttempts: Infinity });
    started.push(wsService);
    wsService.connect();
    await settled();
    expect(server.last.url.host).toBe("other.example");
  });
});

describe("a token", () => {
  it("is requested for each attempt and sent as a subprotocol, not in the URL", async () => {
    let n = 0;
    start({ getToken: async () => `token-${++n}` });
    await settled();
    server.drop(3005);
    await retried();
    expect(server.sessions.map(({ protocols }) => protocols)).toEqual([
      ["orderwire", "bearer.token-1"],
      ["orderwire", "bearer.token-2"],
    ]);
    expect(server.last.url.href).not.toContain("token");
  });

  it("may be given without a promise, or be absent", async () => {
    const tokens = ["plain", null, undefined];
    start({ getToken: () => tokens.shift() });
    for (const _ of [1, 2, 3]) {
      await settled();
      server.drop();
      await retried();
    }
    expect(server.sessions.slice(0, 3).map(({ protocols }) => protocols)).toEqual([["orderwire", "bearer.plain"], [], []]);
  });

  it("counts as a failed attempt if getToken throws", async () => {
    const { service } = start({
      getToken: () => {
        throw new Error("signed out");
      },
    });
    await settled();
    await retried();
    await retried(6_000);
    expect(service.status).toMatchObject({ state: "waiting", attempt: 3 });
    expect(server.sessions).toEqual([]);
  });

  it("opens no connection if it comes after disconnect()", async () => {
    let give!: (token: string) => void;
    const { service } = start({ getToken: () => new Promise((resolve) => void (give = resolve)) });
    await settled();
    service.disconnect();
    give("late");
    await settled();
    expect(server.sessions).toEqual([]);
  });
});

describe("resuming", () => {
  it("misses no event and reports none twice", async () => {
    const { log, orders } = start();
    await settled();
    server.publish(order(1));
    await settled();
    server.drop();
    server.publish(order(2));
    await retried();
    expect(server.last.url.searchParams.get("last_event_id")).toBe(order(1).id);
    server.last.send(order(2));
    server.last.send(order(1));
    server.publish(order(3));
    await settled();
    expect(orders()).toEqual([1, 2, 3]);
    expect(log).not.toContain("gap");
  });

  it("reports an event of a stream once, and resumes after it", async () => {
    const { service, log } = start();
    await settled();
    const row = { type: "row_update", id: "epoch-800-9", stream: "stock", key: "42", at: "2026-01-02T03:04:05Z" };
    server.last.send(row);
    server.last.send(row);
    await settled();
    expect(log.filter((entry) => entry === "row_update")).toHaveLength(1);
    expect(service.lastEventId).toBe("epoch-800-9");
  });

  it("starts at lastEventId", async () => {
    server.journal = [order(1), order(2)];
    const { service, orders } = start({ lastEventId: order(1).id });
    await settled();
    expect(orders()).toEqual([2]);
    expect(service.lastEventId).toBe(order(2).id);
  });

  it("reports a gap that the server cannot close, and resumes from the next event", async () => {
    const { log, service } = start({ lastEventId: "other-1-1" });
    await settled();
    expect(log).toEqual(["connect", "analytics_update", "resumed", "gap"]);
    expect(service.lastEventId).toBeUndefined();
    server.publish(order(5));
    await settled();
    server.drop();
    await retried();
    expect(log.filter((what) => what === "gap")).toHaveLength(1);
    expect(server.last.url.searchParams.get("last_event_id")).toBe(order(5).id);
  });

  it("reports a gap announced while connected", async () => {
    const { log } = start();
    await settled();
    server.last.send({ type: "resumed", recovered: false, replayed: 0 });
    await settled();
    expect(log.at(-1)).toBe("gap");
  });

  it("reports a gap when the connection was lost before it had a cursor", async () => {
    const { log } = start();
    await settled();
    server.drop();
    await retried();
    expect(log).toEqual(["connect", "analytics_update", "disconnect 1006", "connect", "gap", "analytics_update"]);
  });

  it("reports no gap before it was ever online", async () => {
    server.refuse = 1013;
    const { log } = start();
    await settled();
    server.refuse = undefined;
    await retried();
    expect(log).toEqual(["connect", "analytics_update"]);
  });

  it("resumes after disconnect()", async () => {
    const { service, orders } = start();
    await settled();
    server.publish(order(1));
    await settled();
    service.disconnect();
    server.publish(order(2));
    service.connect();
    await settled();
    expect(orders()).toEqual([1, 2]);
  });
});

describe("sending", () => {
  it("is queued until the connection is open", async () => {
    const service = new WebSocketService({ url: "ws://shop.example/api/ws" });
    started.push(service);
    const sent = service.send({ type: "subscribe", topics: ["order:5"] });
    service.connect();
    expect(await sent).toBe(true);
    expect(server.last.received).toEqual([{ type: "subscribe", topics: ["order:5"] }]);
  });

  it("fails after disconnect()", async () => {
    server.refuse = "silently";
    const { service } = start();
    const sent = service.send({ type: "ping" });
    service.disconnect();
    expect(await sent).toBe(false);
  });
});

describe("browser events", () => {
  it.each(["online", "visibilitychange"])("retry at once: %s", async (name) => {
    server.refuse = 1013;
    const { service } = start();
    await settled();
    expect(service.status.state).toBe("waiting");
    server.refuse = undefined;
    (name === "online" ? window : document).dispatchEvent(new Event(name));
    await settled();
    expect(service.status.state).toBe("online");
  });

  it("have no effect after disconnect()", async () => {
    const { service } = start();
    await settled();
    service.disconnect();
    window.dispatchEvent(new Event("online"));
    await settled();
    expect(server.sessions).toHaveLength(1);
  });

  it("have one listener, however often the service was connected again", async () => {
    const { service } = start();
    service.disconnect();
    service.connect();
    await settled();
    window.dispatchEvent(new Event("online"));
    expect(server.last.received).toEqual([{ type: "ping" }]);
  });

  it("probe the connection: offline", async () => {
    const { service } = start();
    await settled();
    server.last.send = () => {}; // the server does not answer
    window.dispatchEvent(new Event("offline"));
    expect(server.last.received).toEqual([{ type: "ping" }]);
    vi.advanceTimersByTime(5_000);
    expect(service.status.state).toBe("waiting");
  });
});

describe("where WebSocket is blocked", () => {
  beforeEach(() => void (server.websocketBlocked = true));

  it("falls back to Server-Sent Events, with the token as a header, and resumes", async () => {
    const { service, orders } = start({ url: "wss://shop.example/api/ws", getToken: () => "secret" });
    await retried();
    expect(service.status).toEqual({ state: "online", transport: "sse", live: true });
    expect(server.last.url.href).toBe("https://shop.example/api/sse");
    expect(server.last.headers?.get("Authorization")).toBe("Bearer secret");
    server.publish(order(1));
    await settled();
    server.drop();
    server.publish(order(2));
    await retried();
    expect(server.last.url.searchParams.get("last_event_id")).toBe(order(1).id);
    expect(orders()).toEqual([1, 2]);
    service.disconnect();
    await settled();
    expect(server.live).toEqual([]);
  });

  it("counts a comment as activity", async () => {
    const { service } = start();
    await retried();
    for (let beat = 0; beat < 10; beat++) {
      server.last.comment!();
      await retried(30_000);
    }
    expect(service.isConnected()).toBe(true);
    const alive = server.last;
    expect(server.live).toEqual([alive]);
    await retried(90_000);
    expect(alive.open).toBe(false);
  });

  it("gives up when the server rejects the client", async () => {
    server.sseAnswer = () => Response.json({ error: { code: "forbidden", message: "not for you" } }, { status: 403 });
    const { service } = start();
    await retried();
    expect(service.status).toEqual({ state: "closed", code: 403, reason: "not for you", terminal: true });
  });

  it.each([
    ["the rejection of a proxy", () => new Response("<h1>Forbidden</h1>", { status: 403, headers: { "Content-Type": "text/html" } })],
    ["a captive portal", () => new Response("<h1>Wi-Fi</h1>", { headers: { "Content-Type": "text/html" } })],
    ["a rejection in another format", () => Response.json({ message: "Forbidden" }, { status: 403 })],
    ["an expired token", () => Response.json({ error: { code: "token_expired", message: "" } }, { status: 401 })],
    ["a busy server", () => Response.json({ error: { message: "starting" } }, { status: 503 })],
  ])("retries after %s", async (_, answer) => {
    server.sseAnswer = answer;
    const { service } = start();
    await retried();
    expect(service.status).toMatchObject({ state: "waiting", attempt: 2 });
  });
});
