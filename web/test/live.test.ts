import type { ConnectionStatus as Status, NewOrder, ServerMessage, WebSocketService } from "@orderwire/client";
import { beforeEach, expect, test, vi } from "vitest";
import { ApiError, type Api } from "../src/api.ts";
import { Live } from "../src/state/live.ts";
import type { OrderRow } from "../src/state/order-book.ts";

/** The part of the service that Live uses, with the network in the test's hands. */
class Line {
  lastEventId: string | undefined;
  disconnected = 0;
  readonly #on: Record<string, (value?: unknown) => void> = {};

  onMessage = (callback: (frame: ServerMessage) => void) => this.#keep("message", callback);
  onConnect = (callback: () => void) => this.#keep("connect", callback);
  onGap = (callback: () => void) => this.#keep("gap", callback);
  onStatus = (callback: (status: Status) => void) => this.#keep("status", callback);
  onDisconnect = (callback: (closing: { code: number; reason: string }) => void) => this.#keep("disconnect", callback);
  isConnected = () => true;
  configure = () => {};
  disconnect = () => {
    this.disconnected++;
  };

  #keep(name: string, callback: (value: never) => void): () => void {
    this.#on[name] = callback as (value?: unknown) => void;
    return () => {};
  }

  hear(name: "message" | "connect" | "gap" | "status" | "disconnect", value?: unknown): void {
    if (name === "message" && (value as NewOrder).id !== undefined) this.lastEventId = (value as NewOrder).id;
    this.#on[name]?.(value);
  }
}

interface Asked {
  before: number | undefined;
  answer: (rows: OrderRow[]) => Promise<void>;
  fail: (status: number) => Promise<void>;
}

let line: Line;
let live: Live;
let asked: Asked[];
let told: string[];
let totals: () => Promise<unknown>;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "setInterval", "requestAnimationFrame", "performance", "Date"] });
  sessionStorage.clear();
  line = new Line();
  asked = [];
  told = [];
  totals = () => Promise.resolve({});
  const api: Api = {
    totals: () => totals(),
    events: () => Promise.reject(new Error("not asked for")),
    orders: (before) =>
      new Promise((resolve, reject) => {
        const settled = () => vi.advanceTimersByTimeAsync(0);
        asked.push({
          before,
          answer: (rows) => (resolve(rows), settled().then()) as Promise<void>,
          fail: (status) => (reject(new ApiError(status)), settled().then()) as Promise<void>,
        });
      }),
  };
  live = new Live(line as unknown as WebSocketService, api, (order) => told.push(order.order_number));
});

async function drawn() {
  await vi.advanceTimersByTimeAsync(200);
  return live.getView();
}

function row(id: number): OrderRow {
  const at = "2026-01-02T03:04:05Z";
  return { id, order_number: `N${id}`, customer_name: "Bo", total: "5.00", status: "pending", created_at: at, updated_at: at };
}

function page(from: number, count = 1000): OrderRow[] {
  return Array.from({ length: count }, (_, index) => row(from - index));
}

function created(id: number): NewOrder {
  return { type: "new_order", id: `e-1-${id}`, order_id: id, order_number: `N${id}`, customer_name: "Anna", total: "1.00", status: "pending", at: "2026-01-02T03:04:05Z" };
}

test("the orders are fetched when the connection is there, and an order is told once", async () => {
  line.hear("connect");
  line.hear("message", created(2));
  await asked[0]?.answer([row(2), row(1)]);
  expect((await drawn()).orders).toBe("ready");
  expect(live.book.select().map((order) => order.id)).toEqual([2, 1]);
  expect(told).toEqual(["N2"]);
  expect((await drawn()).toasts).toHaveLength(1);
});

test("a reconnect with a cursor fetches nothing, one without fetches anew", async () => {
  line.hear("connect");
  await asked[0]?.answer([row(1)]);
  line.hear("connect");
  expect(asked).toHaveLength(2);
  await asked[1]?.answer([row(1)]);
  line.hear("message", created(2));
  line.hear("connect");
  expect(asked).toHaveLength(2);
});

test("after a gap the orders are fetched anew, and older ones cannot get in between", async () => {
  line.hear("connect");
  await asked[0]?.answer(page(5000));
  line.hear("gap");
  await live.loadOlder();
  expect(asked).toHaveLength(2);
  await asked[1]?.answer([row(9000)]);
  const view = await drawn();
  expect(live.book.select().map((order) => order.id)).toEqual([9000]);
  expect(view.events.map((event) => event.type)).toEqual(["gap"]);
  expect(view.orders).toBe("ready");
});

test("older orders come once, below", async () => {
  line.hear("connect");
  await asked[0]?.answer(page(5000));
  const first = live.loadOlder();
  void live.loadOlder();
  expect(asked.map(({ before }) => before)).toEqual([undefined, 4001]);
  await asked[1]?.answer(page(4000, 10));
  await first;
  expect(live.book.size).toBe(1010);
  await live.loadOlder(); // there are none
  expect(asked).toHaveLength(2);
});

test("what cannot be fetched is tried again", async () => {
  line.hear("connect");
  await asked[0]?.fail(503);
  expect((await drawn()).orders).toBe("failed");
  await vi.advanceTimersByTimeAsync(2_000);
  await asked[1]?.answer([row(1)]);
  expect((await drawn()).orders).toBe("ready");
});

test("a role without orders sees the totals", async () => {
  line.hear("connect");
  line.hear("message", { type: "analytics_update", total_orders: 3, total_revenue: "12.50", pending_orders: 1 });
  await asked[0]?.fail(403);
  const view = await drawn();
  expect(view.access).toBe("totals");
  expect(view.totals?.total_revenue).toBe("12.50");
});

test("who is not let in is asked for a token, and told when it is refused", async () => {
  totals = () => Promise.reject(new ApiError(401));
  await live.checkAccess();
  expect(await drawn()).toMatchObject({ access: "sign-in", refused: false });
  sessionStorage.setItem("orderwire.token", "wrong");
  await live.checkAccess();
  expect(await drawn()).toMatchObject({ access: "sign-in", refused: true });
  totals = () => Promise.resolve({});
  await live.checkAccess();
  expect(await drawn()).toMatchObject({ access: "everything", refused: false });
});

test("a connection that the server ends for good leads to the sign-in, if that is why", async () => {
  await live.checkAccess();
  totals = () => Promise.reject(new ApiError(401));
  line.hear("status", { state: "closed", code: 3500, reason: "invalid token", terminal: true });
  expect((await drawn()).access).toBe("sign-in");
  expect(line.disconnected).toBe(1);
});

test("a token that has run out leads to the sign-in, and no other end of a connection does", async () => {
  await live.checkAccess();
  totals = () => Promise.reject(new ApiError(401));
  line.hear("disconnect", { code: 3001, reason: "drain" });
  expect((await drawn()).access).toBe("everything");
  line.hear("disconnect", { code: 3005, reason: "token expired" });
  expect((await drawn()).access).toBe("sign-in");
});

test("a server that cannot be reached does not ask for a token", async () => {
  totals = () => Promise.reject(new TypeError("Failed to fetch"));
  await live.checkAccess();
  expect((await drawn()).access).toBe("everything");
});

test("a thousand events are drawn together", async () => {
  let draws = 0;
  live.subscribe(() => draws++);
  for (let id = 1; id <= 1000; id++) line.hear("message", created(id));
  const view = await drawn();
  expect(draws).toBeLessThanOrEqual(2);
  expect(view.events).toHaveLength(200);
  expect(view.events[0]).toMatchObject({ order_id: 1000 });
  expect(live.book.size).toBe(1000);
});
