import { act, cleanup, render, renderHook } from "@testing-library/react";
import { StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WebSocketService } from "../src/orderwire.js";
import { type LiveSnapshot, useWebSocket } from "../src/react.js";
import { FakeServer, order, settled } from "./fake-server.js";

let server: FakeServer;
let service: WebSocketService;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
  vi.spyOn(Math, "random").mockReturnValue(1);
  server = new FakeServer();
  server.install();
  service = new WebSocketService({ url: "ws://shop.example/api/ws" });
});
afterEach(() => {
  cleanup();
  service.disconnect();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

/** Waits until everything pending has happened and was rendered. */
async function rendered(ms = 50): Promise<void> {
  await act(async () => {
    await settled();
    vi.advanceTimersByTime(ms);
    await settled();
  });
}

function hook() {
  return renderHook(() => useWebSocket(service), { wrapper: StrictMode }).result;
}

describe("useWebSocket", () => {
  it("returns the connection, the totals and the events", async () => {
    const live = hook();
    expect(live.current).toMatchObject({
      isConnected: false,
      stats: null,
      latestOrder: null,
      events: [],
    });
    await rendered();
    expect(live.current.isConnected).toBe(true);
    expect(live.current.status).toEqual({ state: "online", transport: "websocket", live: true });
    server.publish(order(1));
    server.publish(order(2));
    server.last.send({ ...order(1), type: "order_status_update", id: "epoch-9-3", status: "ready", previous_status: "pending" });
    server.last.send({ type: "analytics_update", total_orders: 2, total_revenue: "301.00", pending_orders: 1 });
    await rendered();
    expect(live.current.stats).toEqual({ totalOrders: 2, totalRevenue: "301.00", pendingOrders: 1 });
    expect(live.current.latestOrder).toMatchObject({ order_id: 2 });
    expect(live.current.events.map(({ type, order_id }) => [type, order_id])).toEqual([
      ["order_status_update", 1],
      ["new_order", 2],
      ["new_order", 1],
    ]);
    expect(await live.current.sendPing()).toBe(true);
    expect(server.last.received).toEqual([{ type: "ping" }]);
  });

  it("returns the status after a lost connection, with the time of the next attempt", async () => {
    const live = hook();
    await rendered();
    server.drop();
    await rendered();
    expect(live.current.isConnected).toBe(false);
    expect(live.current.status).toMatchObject({ state: "waiting", attempt: 1, retryAt: Date.now() + 3_000 - 50 });
  });

  it("uses one connection for all components, whichever mount and unmount, also in StrictMode", async () => {
    const Row = ({ snapshots }: { snapshots: LiveSnapshot[] }) => {
      snapshots.push(useWebSocket(service));
      return null;
    };
    const snapshots: LiveSnapshot[] = [];
    const page = (count: number) => (
      <StrictMode>
        {Array.from({ length: count }, (_, n) => (
          <Row key={n} snapshots={snapshots} />
        ))}
      </StrictMode>
    );
    const view = render(page(20));
    await rendered();
    view.rerender(page(3));
    await rendered(5_000);
    view.rerender(page(0));
    await rendered(900);
    view.rerender(page(5));
    await rendered(5_000);
    expect(server.sessions).toHaveLength(1);
    expect(server.live).toHaveLength(1);
    view.unmount();
    await rendered(999);
    expect(server.live).toHaveLength(1);
    await rendered(1);
    expect(server.live).toHaveLength(0);
  });

  it("connects again when a component mounts again, without the events of before", async () => {
    const view = renderHook(() => useWebSocket(service));
    await rendered();
    server.publish(order(1));
    await rendered();
    view.unmount();
    await rendered(2_000);
    server.publish(order(2));
    const live = hook();
    await rendered();
    expect(server.live).toHaveLength(1);
    expect(live.current.events.map(({ order_id }) => order_id)).toEqual([2]);
  });

  it("leaves a connection open that existed before, and starts with its totals", async () => {
    server.journal = [order(1)];
    service.connect();
    await settled();
    const view = renderHook(() => useWebSocket(service));
    await rendered();
    expect(view.result.current.isConnected).toBe(true);
    expect(view.result.current.stats?.totalOrders).toBe(1);
    view.unmount();
    await rendered(5_000);
    expect(service.isConnected()).toBe(true);
  });

  it("renders at most twenty times a second, and misses no event", async () => {
    let renders = 0;
    const { result: live } = renderHook(() => {
      renders++;
      return useWebSocket(service);
    });
    await rendered();
    renders = 0;
    for (let n = 1; n <= 1_000; n++) {
      server.publish(order(n));
      if (n % 10 === 0) await rendered(10);
    }
    await rendered();
    expect(renders).toBeGreaterThan(5);
    expect(renders).toBeLessThanOrEqual(21);
    expect(live.current.latestOrder).toMatchObject({ order_id: 1_000 });
    expect(live.current.events.map(({ order_id }) => order_id)).toEqual(Array.from({ length: 100 }, (_, n) => 1_000 - n));
  });

  it("skips events that are older than the last one of their order", async () => {
    const live = hook();
    await rendered();
    server.last.send(order(1, { id: "epoch-800-20" }));
    server.last.send({ ...order(1), type: "order_update", id: "epoch-799-19" });
    await rendered();
    expect(live.current.events.map(({ id }) => id)).toEqual(["epoch-800-20"]);
  });

  it("clears the events after a gap", async () => {
    const live = hook();
    await rendered();
    server.publish(order(1));
    await rendered();
    server.last.send({ type: "resumed", recovered: false, replayed: 0 });
    await rendered();
    expect(live.current.events).toEqual([]);
    expect(live.current.latestOrder).toBeNull();
  });

  it("returns the same object while nothing changes", async () => {
    const live = hook();
    await rendered();
    const before = live.current;
    await rendered(1_000);
    expect(live.current).toBe(before);
  });

  it("renders on a server without connecting", () => {
    const Page = () => <p>{useWebSocket(service).isConnected ? "online" : "offline"}</p>;
    expect(renderToString(<Page />)).toBe("<p>offline</p>");
    expect(server.sessions).toEqual([]);
  });
});
