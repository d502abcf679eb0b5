import { act, cleanup, render, renderHook } from "@testing-library/react";
import { StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WebSocketService } from "../src/orderwire.js";
import { type Live, useWebSocket } from "../src/react.js";
import { FakeServer, order, settled } from "./fakeServer.js";

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

/** Everything that was set off has happened, and has been rendered. */
async function shown(ms = 50): Promise<void> {
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
  it("shows the connection, the totals and what happens", async () => {
    const live = hook();
    expect(live.current).toMatchObject({
      isConnected: false,
      stats: { totalOrders: 0, totalRevenue: "0", pendingOrders: 0 },
      latestOrder: null,
      events: [],
    });
    await shown();
    expect(live.current.isConnected).toBe(true);
    expect(live.current.status).toEqual({ state: "online", transport: "websocket" });
    server.publish(order(1));
    server.publish(order(2));
    server.last.send({ ...order(1), type: "order_status_update", id: "epoch-9-3", status: "ready", previous_status: "pending" });
    server.last.send({ type: "analytics_update", total_orders: 2, total_revenue: "301.00", pending_orders: 1 });
    await shown();
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

  it("shows that the connection is lost, and when the next attempt comes", async () => {
    const live = hook();
    await shown();
    server.drop();
    await shown();
    expect(live.current.isConnected).toBe(false);
    expect(live.current.status).toMatchObject({ state: "waiting", attempt: 1, retryAt: Date.now() + 3_000 - 50 });
  });

  it("has one connection for all components, StrictMode or not, whatever mounts and unmounts", async () => {
    const Row = ({ told }: { told: Live[] }) => {
      told.push(useWebSocket(service));
      return null;
    };
    const told: Live[] = [];
    const page = (count: number) => (
      <StrictMode>
        {Array.from({ length: count }, (_, n) => (
          <Row key={n} told={told} />
        ))}
      </StrictMode>
    );
    const view = render(page(20));
    await shown();
    view.rerender(page(3));
    await shown(5_000);
    view.rerender(page(0));
    await shown(900);
    view.rerender(page(5));
    await shown(5_000);
    expect(server.sessions).toHaveLength(1);
    expect(server.live).toHaveLength(1);
    view.unmount();
    await shown(999);
    expect(server.live).toHaveLength(1);
    await shown(1);
    expect(server.live).toHaveLength(0);
  });

  it("connects again when something mounts again, and shows nothing of before", async () => {
    const view = renderHook(() => useWebSocket(service));
    await shown();
    server.publish(order(1));
    await shown();
    view.unmount();
    await shown(2_000);
    server.publish(order(2));
    const live = hook();
    await shown();
    expect(server.live).toHaveLength(1);
    expect(live.current.events.map(({ order_id }) => order_id)).toEqual([2]);
  });

  it("leaves a connection alone that was there before, and knows its totals", async () => {
    server.journal = [order(1)];
    service.connect();
    await settled();
    const view = renderHook(() => useWebSocket(service));
    await shown();
    expect(view.result.current.isConnected).toBe(true);
    expect(view.result.current.stats.totalOrders).toBe(1);
    view.unmount();
    await shown(5_000);
    expect(service.isConnected()).toBe(true);
  });

  it("renders at most twenty times a second, and misses nothing", async () => {
    let renders = 0;
    const { result: live } = renderHook(() => {
      renders++;
      return useWebSocket(service);
    });
    await shown();
    renders = 0;
    for (let n = 1; n <= 1_000; n++) {
      server.publish(order(n));
      if (n % 10 === 0) await shown(10);
    }
    await shown();
    expect(renders).toBeGreaterThan(5);
    expect(renders).toBeLessThanOrEqual(21);
    expect(live.current.latestOrder).toMatchObject({ order_id: 1_000 });
    expect(live.current.events.map(({ order_id }) => order_id)).toEqual(Array.from({ length: 100 }, (_, n) => 1_000 - n));
  });

  it("does not show what is older than what it shows of an order", async () => {
    const live = hook();
    await shown();
    server.last.send(order(1, { id: "epoch-800-20" }));
    server.last.send({ ...order(1), type: "order_update", id: "epoch-799-19" });
    await shown();
    expect(live.current.events.map(({ id }) => id)).toEqual(["epoch-800-20"]);
  });

  it("keeps no list with a hole in it", async () => {
    const live = hook();
    await shown();
    server.publish(order(1));
    await shown();
    server.last.send({ type: "resumed", recovered: false, replayed: 0 });
    await shown();
    expect(live.current.events).toEqual([]);
    expect(live.current.latestOrder).toBeNull();
  });

  it("gives a snapshot that stays the same while nothing happens", async () => {
    const live = hook();
    await shown();
    const before = live.current;
    await shown(1_000);
    expect(live.current).toBe(before);
  });

  it("renders on a server, where there is no connection", () => {
    const Page = () => <p>{useWebSocket(service).isConnected ? "online" : "offline"}</p>;
    expect(renderToString(<Page />)).toBe("<p>offline</p>");
    expect(server.sessions).toEqual([]);
  });
});
