import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Options, WebSocketService } from "../src/orderwire.js";
import { FakeBrowser } from "./fake-browser.js";
import { FakeServer, order, settled } from "./fake-server.js";

let server: FakeServer;
let browser: FakeBrowser;
const tabs: WebSocketService[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] });
  vi.spyOn(Math, "random").mockReturnValue(1);
  server = new FakeServer();
  server.install();
  browser = new FakeBrowser();
  browser.install();
  setVisible(false);
});
afterEach(() => {
  for (const tab of tabs.splice(0)) tab.disconnect();
  browser.uninstall();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function open(options: Options = {}) {
  const service = new WebSocketService({ url: "ws://shop.example/api/ws", share: true, ...options });
  tabs.push(service);
  const log: string[] = [];
  const orders: unknown[] = [];
  service.onConnect(() => log.push("connect"));
  service.onDisconnect(({ code }) => log.push(`disconnect ${code}`));
  service.onGap(() => log.push("gap"));
  service.onMessage((message) => void ("order_id" in message && orders.push(message.order_id)));
  service.connect();
  await settled();
  return { service, log, orders };
}

function setVisible(visible: boolean): void {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue(visible ? "visible" : "hidden");
}

/** Advances time by this many heartbeat intervals of 30 s. */
async function heartbeats(count: number): Promise<void> {
  for (let n = 0; n < count * 30; n++) {
    vi.advanceTimersByTime(1_000);
    await settled();
  }
}

describe("tabs that share", () => {
  it("have one connection, and each receives every event once", async () => {
    const [a, b, c] = [await open(), await open(), await open()];
    server.publish(order(1));
    server.publish(order(2));
    await settled();
    expect(server.sessions).toHaveLength(1);
    for (const tab of [a, b, c]) {
      expect(tab.orders).toEqual([1, 2]);
      expect(tab.log).toEqual(["connect"]);
      expect(tab.service.lastEventId).toBe(order(2).id);
    }
  });

  it("start with the state of the leader", async () => {
    await open();
    server.publish(order(1));
    server.last.send({ type: "subscribed", topics: ["orders", "order:5"] });
    await settled();
    const { service, orders } = await open();
    expect(service.isConnected()).toBe(true);
    expect(service.totals).toMatchObject({ total_orders: 0 });
    expect(service.topics).toEqual(["orders", "order:5"]);
    expect(service.lastEventId).toBe(order(1).id);
    expect(orders).toEqual([]);
  });

  it.each(["closes", "crashes"])("miss no event and get none twice when the leader %s", async (how) => {
    const [a, b, c] = [await open(), await open(), await open()];
    server.last.send({ type: "subscribed", topics: ["orders", "order:5"] });
    server.publish(order(1));
    await settled();
    if (how === "closes") a.service.disconnect();
    else {
      browser.crash(0);
      server.last.open = false;
    }
    server.publish(order(2));
    await settled();
    server.publish(order(3));
    await settled();
    expect(server.sessions).toHaveLength(2);
    expect(server.last.url.searchParams.get("last_event_id")).toBe(order(1).id);
    expect(server.last.url.searchParams.get("topics")).toBe("orders,order:5");
    for (const tab of [b, c]) {
      expect(tab.orders).toEqual([1, 2, 3]);
      expect(tab.log).not.toContain("gap");
    }
  });

  it("report a disconnect once, and only in the tab that disconnects", async () => {
    const [a, b] = [await open(), await open()];
    const statuses: string[] = [];
    a.service.onStatus(({ state }) => statuses.push(state));
    a.service.disconnect();
    await settled();
    expect(statuses).toEqual(["idle"]);
    expect(b.log).toEqual(["connect", "disconnect 1006", "connect", "gap"]);
  });

  it("have the same status, and each can retry at once", async () => {
    const [a, b] = [await open(), await open()];
    server.refuse = 1013;
    server.drop();
    await settled();
    expect(b.service.status).toEqual(a.service.status);
    expect(b.service.status).toMatchObject({ state: "waiting", attempt: 1 });
    expect(b.log).toEqual(["connect", "disconnect 1006"]);
    server.refuse = undefined;
    b.service.connect();
    await settled();
    expect([a.service.isConnected(), b.service.isConnected()]).toEqual([true, true]);
  });

  it("retry when the timers of a hidden leader are late", async () => {
    const [a, b] = [await open(), await open()];
    server.drop();
    await settled();
    expect(b.service.status.state).toBe("waiting");
    const posted = vi.spyOn(BroadcastChannel.prototype, "postMessage");
    vi.advanceTimersByTime(4_000);
    expect(posted).toHaveBeenCalledWith({ kind: "connect" });
    await settled();
    expect(a.service.isConnected()).toBe(true);
  });

  it("send through the leader, in order, and learn whether it was sent", async () => {
    await open();
    const { service } = await open();
    const sent = [1, 2].map((n) => service.send({ type: "subscribe", topics: [`order:${n}`] }));
    await settled();
    expect(await Promise.all(sent)).toEqual([true, true]);
    expect(server.last.received.map((message) => "topics" in message && message.topics[0])).toEqual(["order:1", "order:2"]);
    server.drop(3500);
    await settled();
    const refused = service.send({ type: "ping" });
    await settled();
    expect(await refused).toBe(false);
  });

  it("send unacknowledged messages through the next leader", async () => {
    await open();
    const [b, c] = [await open(), await open()];
    browser.freeze(0);
    const sent = [b, c].map(({ service }) => service.send({ type: "subscribe", topics: ["order:1"] }));
    await settled();
    expect(server.sessions[0]!.received).toEqual([]);
    browser.crash(0);
    await settled();
    expect(await Promise.all(sent)).toEqual([true, true]);
    expect(server.last.received).toHaveLength(2);
  });

  it("queue a limited number of messages for a leader that does not answer", async () => {
    await open();
    const { service } = await open({ queueLimit: 1 });
    browser.freeze(0);
    const sent = [service.send({ type: "ping" }), service.send({ type: "ping" })];
    expect(await sent[1]).toBe(false);
    service.disconnect();
    expect(await sent[0]).toBe(false);
  });

  it("replace a frozen leader, which then follows and reports what it has missed", async () => {
    const [a, b] = [await open(), await open()];
    server.publish(order(1));
    await settled();
    browser.freeze(0);
    server.sessions[0]!.open = false;
    server.publish(order(2));
    await heartbeats(4);
    expect(server.sessions.length).toBeGreaterThan(1);
    expect(b.orders).toEqual([1, 2]);
    browser.thaw(0);
    await heartbeats(1);
    server.publish(order(3));
    await settled();
    expect(server.live).toHaveLength(1);
    expect(b.orders).toEqual([1, 2, 3]);
    expect(a.orders).toContain(3);
    expect(a.orders.includes(2) || a.log.includes("gap")).toBe(true);
  });

  it("accept acknowledgements of the current leader only", async () => {
    await open({ maxAttempts: Infinity });
    const b = await open({ maxAttempts: Infinity });
    const c = await open({ heartbeatMs: 10 ** 9 });
    server.refuse = 1013;
    server.drop();
    await settled();
    const sent = c.service.send({ type: "subscribe", topics: ["order:1"] });
    await settled();
    browser.freeze(0);
    await heartbeats(5);
    browser.thaw(0);
    await settled();
    server.refuse = undefined;
    b.service.connect();
    await heartbeats(1);
    expect(await sent).toBe(true);
  });

  it("do not replace a leader that only forwards heartbeats", async () => {
    await open();
    await open();
    for (let n = 0; n < 10; n++) {
      server.last.send({ type: "ping" });
      await settled();
      await heartbeats(1);
    }
    expect(server.sessions).toHaveLength(1);
  });

  it("resume from the cursor of a follower when the leader has none", async () => {
    server.journal = [order(1), order(2)];
    const a = await open();
    const b = await open({ lastEventId: order(1).id });
    expect(server.last.url.searchParams.get("last_event_id")).toBe(order(1).id);
    expect(b.orders).toEqual([2]);
    expect(b.log).not.toContain("gap");
    expect(a.log).not.toContain("gap");
  });

  it("report a gap to a tab whose cursor is older than the leader's", async () => {
    await open();
    server.publish(order(5));
    await settled();
    const { log } = await open({ lastEventId: order(1).id });
    expect(log).toEqual(["connect", "gap"]);
  });

  it("forward nothing while there is one tab", async () => {
    const posted = vi.spyOn(BroadcastChannel.prototype, "postMessage");
    await open();
    server.publish(order(1));
    await settled();
    expect(posted.mock.calls.map(([message]) => (message as { kind: string }).kind)).toEqual(["hello", "leader"]);
  });

  it("forward updates in batches, in order", async () => {
    setVisible(true);
    const a = await open();
    const b = await open();
    const posted = vi.spyOn(BroadcastChannel.prototype, "postMessage");
    for (let n = 1; n <= 100; n++) server.publish(order(n));
    await settled();
    expect(a.orders).toHaveLength(100);
    expect(b.orders).toEqual([]);
    vi.advanceTimersByTime(16);
    await settled();
    expect(b.orders).toEqual(a.orders);
    expect(posted).toHaveBeenCalledTimes(1);
  });

  it("flush the batch before a new tab gets the state", async () => {
    setVisible(true);
    await open();
    const b = await open();
    server.publish(order(1));
    await settled();
    const c = await open();
    expect(b.orders).toEqual([1]);
    expect([b.log, c.log]).toEqual([["connect"], ["connect"]]);
    expect(c.service.lastEventId).toBe(order(1).id);
  });

  it("share only with the same options", async () => {
    await open();
    await open({ share: "admin Анна" });
    await open({ topics: ["analytics"] });
    await open({ share: false });
    expect(server.live).toHaveLength(4);
  });
});

it.each([
  ["the browser has no locks", () => browser.uninstall()],
  ["the page may not use locks", () => vi.spyOn(navigator.locks, "request").mockRejectedValue(new DOMException("no", "SecurityError"))],
])("tabs have separate connections where %s", async (_, forbid) => {
  forbid();
  const tabs = [await open(), await open()];
  expect(server.live).toHaveLength(2);
  server.publish(order(1));
  await settled();
  expect(tabs.map(({ orders }) => orders)).toEqual([[1], [1]]);
});
