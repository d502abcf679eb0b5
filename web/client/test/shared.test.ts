import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Options, WebSocketService } from "../src/orderwire.js";
import { FakeBrowser } from "./fakeBrowser.js";
import { FakeServer, order, settled } from "./fakeServer.js";

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
  visible(false);
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
  const told: string[] = [];
  const orders: number[] = [];
  service.onConnect(() => told.push("connect"));
  service.onDisconnect(({ code }) => told.push(`disconnect ${code}`));
  service.onGap(() => told.push("gap"));
  service.onMessage((frame) => void ("id" in frame && orders.push(frame.order_id)));
  service.connect();
  await settled();
  return { service, told, orders };
}

function visible(whether: boolean): void {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue(whether ? "visible" : "hidden");
}

/** Whoever waits for a heartbeat, for so many of them. */
async function beats(count: number): Promise<void> {
  for (let n = 0; n < count * 30; n++) {
    vi.advanceTimersByTime(1_000);
    await settled();
  }
}

describe("tabs that share", () => {
  it("have one connection, and each hears everything once", async () => {
    const [a, b, c] = [await open(), await open(), await open()];
    server.publish(order(1));
    server.publish(order(2));
    await settled();
    expect(server.sessions).toHaveLength(1);
    for (const tab of [a, b, c]) {
      expect(tab.orders).toEqual([1, 2]);
      expect(tab.told).toEqual(["connect"]);
      expect(tab.service.lastEventId).toBe(order(2).id);
    }
  });

  it("know at once what a tab that was there before knows", async () => {
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

  it.each(["closed", "gone without a word"])("lose nothing and see no twin when the one that leads is %s", async (how) => {
    const [a, b, c] = [await open(), await open(), await open()];
    server.last.send({ type: "subscribed", topics: ["orders", "order:5"] });
    server.publish(order(1));
    await settled();
    if (how === "closed") a.service.disconnect();
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
      expect(tab.told).not.toContain("gap");
    }
  });

  it("are told once that they left, and tell the others nothing of it", async () => {
    const [a, b] = [await open(), await open()];
    const statuses: string[] = [];
    a.service.onStatus(({ state }) => statuses.push(state));
    a.service.disconnect();
    await settled();
    expect(statuses).toEqual(["idle"]);
    expect(b.told).toEqual(["connect", "disconnect 1006", "connect", "gap"]);
  });

  it("see the same status, and any of them can try at once", async () => {
    const [a, b] = [await open(), await open()];
    server.refuse = 1013;
    server.drop();
    await settled();
    expect(b.service.status).toEqual(a.service.status);
    expect(b.service.status).toMatchObject({ state: "waiting", attempt: 1 });
    expect(b.told).toEqual(["connect", "disconnect 1006"]);
    server.refuse = undefined;
    b.service.connect();
    await settled();
    expect([a.service.isConnected(), b.service.isConnected()]).toEqual([true, true]);
  });

  it("need not wait for a hidden tab's timers", async () => {
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

  it("send through the one that leads, in order, and hear whether it went out", async () => {
    await open();
    const { service } = await open();
    const sent = [1, 2].map((n) => service.send({ type: "subscribe", topics: [`order:${n}`] }));
    await settled();
    expect(await Promise.all(sent)).toEqual([true, true]);
    expect(server.last.received.map((frame) => "topics" in frame && frame.topics[0])).toEqual(["order:1", "order:2"]);
    server.drop(3500);
    await settled();
    const refused = service.send({ type: "ping" });
    await settled();
    expect(await refused).toBe(false);
  });

  it("send what was not acknowledged through the next one that leads", async () => {
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

  it("hold only so many messages for a tab that leads and does not answer", async () => {
    await open();
    const { service } = await open({ queueLimit: 1 });
    browser.freeze(0);
    const sent = [service.send({ type: "ping" }), service.send({ type: "ping" })];
    expect(await sent[1]).toBe(false);
    service.disconnect();
    expect(await sent[0]).toBe(false);
  });

  it("take the lead from one that is frozen, which then follows and tells what it has missed", async () => {
    const [a, b] = [await open(), await open()];
    server.publish(order(1));
    await settled();
    browser.freeze(0);
    server.sessions[0]!.open = false;
    server.publish(order(2));
    await beats(4);
    expect(server.sessions.length).toBeGreaterThan(1);
    expect(b.orders).toEqual([1, 2]);
    browser.thaw(0);
    await beats(1);
    server.publish(order(3));
    await settled();
    expect(server.live).toHaveLength(1);
    expect(b.orders).toEqual([1, 2, 3]);
    expect(a.orders).toContain(3);
    expect(a.orders.includes(2) || a.told.includes("gap")).toBe(true);
  });

  it("believe only the one that leads now about what was sent", async () => {
    await open({ maxAttempts: Infinity });
    const b = await open({ maxAttempts: Infinity });
    const c = await open({ heartbeatMs: 10 ** 9 });
    server.refuse = 1013;
    server.drop();
    await settled();
    const sent = c.service.send({ type: "subscribe", topics: ["order:1"] });
    await settled();
    browser.freeze(0);
    await beats(5);
    browser.thaw(0);
    await settled();
    server.refuse = undefined;
    b.service.connect();
    await beats(1);
    expect(await sent).toBe(true);
  });

  it("do not take the lead from one that only has nothing to say to them", async () => {
    await open();
    await open();
    for (let n = 0; n < 10; n++) {
      server.last.send({ type: "ping" });
      await settled();
      await beats(1);
    }
    expect(server.sessions).toHaveLength(1);
  });

  it("resume for a tab that knows more than the one that leads", async () => {
    server.journal = [order(1), order(2)];
    const a = await open();
    const b = await open({ lastEventId: order(1).id });
    expect(server.last.url.searchParams.get("last_event_id")).toBe(order(1).id);
    expect(b.orders).toEqual([2]);
    expect(b.told).not.toContain("gap");
    expect(a.told).not.toContain("gap");
  });

  it("tell a gap to a tab whose place they do not know", async () => {
    await open();
    server.publish(order(5));
    await settled();
    const { told } = await open({ lastEventId: order(1).id });
    expect(told).toEqual(["connect", "gap"]);
  });

  it("say nothing while there is nobody to hear it", async () => {
    const posted = vi.spyOn(BroadcastChannel.prototype, "postMessage");
    await open();
    server.publish(order(1));
    await settled();
    expect(posted.mock.calls.map(([message]) => (message as { kind: string }).kind)).toEqual(["hello", "leads"]);
  });

  it("hand on together what comes close together, in order", async () => {
    visible(true);
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

  it("know at a welcome what had not been handed on yet", async () => {
    visible(true);
    await open();
    const b = await open();
    server.publish(order(1));
    await settled();
    const c = await open();
    expect(b.orders).toEqual([1]);
    expect([b.told, c.told]).toEqual([["connect"], ["connect"]]);
    expect(c.service.lastEventId).toBe(order(1).id);
  });

  it("share only what asks for the same", async () => {
    await open();
    await open({ share: "admin Анна" });
    await open({ topics: ["analytics"] });
    await open({ share: false });
    expect(server.live).toHaveLength(4);
  });
});

it.each([
  ["the browser cannot share", () => browser.uninstall()],
  ["the page may not", () => vi.spyOn(navigator.locks, "request").mockRejectedValue(new DOMException("no", "SecurityError"))],
])("each have their own connection where %s", async (_, forbid) => {
  forbid();
  const tabs = [await open(), await open()];
  expect(server.live).toHaveLength(2);
  server.publish(order(1));
  await settled();
  expect(tabs.map(({ orders }) => orders)).toEqual([[1], [1]]);
});
