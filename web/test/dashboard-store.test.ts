import type { AnalyticsUpdate, CloseInfo, ConnectionStatus, NewOrder, ServerMessage, WebSocketService } from "@orderwire/client";
import { beforeEach, expect, test, vi } from "vitest";
import { api, ApiError, type Api, type Meta, type OrderRow, type SeriesResponse } from "../src/api.ts";
import { DashboardStore } from "../src/state/dashboard-store.ts";

/** The part of WebSocketService that DashboardStore uses. `emit` calls its listeners. */
class FakeService {
  lastEventId: string | undefined;
  disconnects = 0;
  connects = 0;
  readonly #listeners: Record<string, ((value?: unknown) => void)[]> = {};

  onMessage = (listener: (message: ServerMessage) => void) => this.#add("message", listener);
  onConnect = (listener: () => void) => this.#add("connect", listener);
  onGap = (listener: () => void) => this.#add("gap", listener);
  onStatus = (listener: (status: ConnectionStatus) => void) => this.#add("status", listener);
  onDisconnect = (listener: (closeInfo: CloseInfo) => void) => this.#add("disconnect", listener);
  isConnected = () => true;
  configure = () => {};
  connect = () => {
    this.connects++;
  };
  disconnect = () => {
    this.disconnects++;
  };

  #add(name: string, listener: (value: never) => void): () => void {
    (this.#listeners[name] ??= []).push(listener as (value?: unknown) => void);
    return () => {};
  }

  emit(name: "message" | "connect" | "gap" | "status" | "disconnect", value?: unknown): void {
    if (name === "message" && (value as NewOrder).id !== undefined) this.lastEventId = (value as NewOrder).id;
    for (const listener of this.#listeners[name] ?? []) listener(value);
  }
}

interface OrdersRequest {
  after: string | undefined;
  to: string | undefined;
  answer: (rows: OrderRow[], next?: string) => Promise<void>;
  fail: (status: number) => Promise<void>;
}

const unexpected = Object.fromEntries(
  (Object.keys(api) as (keyof Api)[]).map((name) => [name, () => Promise.reject(new Error(`unexpected request: ${name}`))]),
) as unknown as Api;

let service: FakeService;
let store: DashboardStore;
let requests: OrdersRequest[];
let alerted: string[];
/** Instead of the answer of `/api/meta`. */
let metaError: Error | undefined;
let meta: Meta;
/** What the server has counted, without buckets. */
let series: SeriesResponse;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "requestAnimationFrame", "performance", "Date"] });
  sessionStorage.clear();
  service = new FakeService();
  requests = [];
  alerted = [];
  metaError = undefined;
  meta = { statuses: ["new", "done"], pending: ["new"], cancelled: [], table: "shop.orders" };
  series = { period: "1h", time_zone: "UTC", buckets: [], statuses: {}, position: "e-s1.1", complete: true };
  const fakeApi: Api = {
    ...unexpected,
    meta: () => (metaError === undefined ? Promise.resolve(meta) : Promise.reject(metaError)),
    series: () => Promise.resolve({ ...series, now: Date.now() }),
    orders: (after, to) =>
      new Promise((resolve, reject) => {
        const settled = () => vi.advanceTimersByTimeAsync(0);
        requests.push({
          after,
          to,
          answer: (rows, next) => (resolve({ orders: rows, next: next ?? null }), settled().then()) as Promise<void>,
          fail: (status) => (reject(new ApiError(status)), settled().then()) as Promise<void>,
        });
      }),
  };
  store = new DashboardStore(service as unknown as WebSocketService, fakeApi, (order) => alerted.push(order.key));
});

/** Longer than events are held without totals. */
async function rendered() {
  await vi.advanceTimersByTimeAsync(600);
  return store.getSnapshot();
}

function totals_(total_orders: number, total_revenue = "0.00"): AnalyticsUpdate {
  return { type: "analytics_update", total_orders, total_revenue, pending_orders: 0 };
}

function row(id: number): OrderRow {
  return { id, key: String(id), order_number: `N${id}`, customer_name: "Bo", total: "5.00", status: "new", created_at: "2026-01-02T03:04:05Z" };
}

function page(from: number, count = 1000): OrderRow[] {
  return Array.from({ length: count }, (_, index) => row(from - index));
}

function created(id: number): NewOrder {
  return { type: "new_order", id: `e-1-${id}`, order_id: id, key: String(id), order_number: `N${id}`, customer_name: "Anna", total: "1.00", status: "new", at: "2026-01-02T03:04:05Z" };
}

test("fetches the orders on connect, and alerts once for an order", async () => {
  service.emit("connect");
  service.emit("message", created(2));
  await requests[0]?.answer([row(2), row(1)]);
  expect((await rendered()).ordersState).toBe("ready");
  expect(store.orders.filter().map((order) => order.key)).toEqual(["2", "1"]);
  expect(alerted).toEqual(["2"]);
  expect((await rendered()).toasts).toHaveLength(1);
});

/** Every number that the page shows, in one snapshot. */
function numbers() {
  const { totals: shown, series: view, events } = store.getSnapshot();
  const byStatus = [...(view?.statuses.values() ?? [])].reduce((sum, count) => sum + count, 0);
  return [shown?.total_orders, byStatus, store.orders.size, events.length];
}

test("shows an event and the totals that count it in one render, in the next frame", async () => {
  service.emit("connect");
  service.emit("message", totals_(0));
  await requests[0]?.answer([]);
  await rendered();
  const seen: unknown[] = [];
  store.subscribe(() => seen.push(numbers()));
  service.emit("message", created(1));
  await vi.advanceTimersByTimeAsync(50);
  expect([seen, numbers()[0], store.orders.size]).toEqual([[], 0, 0]);
  service.emit("message", totals_(1));
  await vi.advanceTimersByTimeAsync(20);
  expect(seen).toEqual([[1, 1, 1, 1]]);
});

test("shows held events after a quarter of a second without totals", async () => {
  service.emit("connect");
  service.emit("message", totals_(0));
  await requests[0]?.answer([]);
  service.emit("message", created(1));
  await vi.advanceTimersByTimeAsync(240);
  expect(store.orders.size).toBe(0);
  await vi.advanceTimersByTimeAsync(20);
  expect(store.orders.size).toBe(1);
});

test("shows nothing of a resume before its end, and then all of it at once", async () => {
  service.emit("connect");
  service.emit("message", totals_(0));
  await requests[0]?.answer([]);
  service.emit("message", created(1));
  service.emit("message", totals_(1));
  await rendered();
  const seen: unknown[] = [];
  store.subscribe(() => seen.push(numbers()));
  service.emit("connect");
  service.emit("message", totals_(3));
  service.emit("message", { type: "resumed", recovered: true, replayed: 2 });
  service.emit("message", created(2));
  await vi.advanceTimersByTimeAsync(100);
  service.emit("message", created(3));
  service.emit("message", totals_(3));
  await vi.advanceTimersByTimeAsync(20);
  expect(seen).toEqual([[3, 3, 3, 3]]);
});

test("fetches the orders again on a reconnect without a cursor, and not on one with", async () => {
  service.emit("connect");
  await requests[0]?.answer([row(1)]);
  service.emit("connect");
  expect(requests).toHaveLength(2);
  await requests[1]?.answer([row(1)]);
  service.emit("message", created(2));
  service.emit("connect");
  expect(requests).toHaveLength(2);
});

test("fetches the orders again after a gap, and no older ones meanwhile", async () => {
  service.emit("connect");
  await requests[0]?.answer(page(5000), "cursor of 4001");
  service.emit("gap");
  await store.loadOlderOrders();
  expect(requests).toHaveLength(2);
  await requests[1]?.answer([row(9000)]);
  const snapshot = await rendered();
  expect(store.orders.filter().map((order) => order.key)).toEqual(["9000"]);
  expect(snapshot.events.map((event) => event.type)).toEqual(["gap"]);
  expect(snapshot.ordersState).toBe("ready");
});

test("adds a page of older orders once", async () => {
  service.emit("connect");
  await requests[0]?.answer(page(5000), "cursor of 4001");
  const first = store.loadOlderOrders();
  void store.loadOlderOrders();
  expect(requests.map(({ after }) => after)).toEqual([undefined, "cursor of 4001"]);
  await requests[1]?.answer(page(4000, 10));
  await first;
  expect(store.orders.size).toBe(1010);
  await store.loadOlderOrders(); // the list is complete
  expect(requests).toHaveLength(2);
});

test("after orders were pushed out, older ones are those before their time", async () => {
  service.emit("connect");
  await requests[0]?.answer([], "cursor");
  for (let id = 1; id <= 6_000; id++) service.emit("message", created(id));
  service.emit("message", totals_(6_000));
  void store.loadOlderOrders();
  expect(requests[1]).toMatchObject({ after: undefined, to: "2026-01-02T03:04:05.001Z" });
  await requests[1]?.answer([row(1)], "cursor in that time");
  void store.loadOlderOrders();
  expect(requests[2]).toMatchObject({ after: "cursor in that time", to: "2026-01-02T03:04:05.001Z" });
});

test("retries a failed fetch", async () => {
  service.emit("connect");
  await requests[0]?.fail(503);
  expect((await rendered()).ordersState).toBe("failed");
  await vi.advanceTimersByTimeAsync(2_000);
  await requests[1]?.answer([row(1)]);
  expect((await rendered()).ordersState).toBe("ready");
});

test("shows totals only to a role that may not see orders", async () => {
  service.emit("connect");
  service.emit("message", { type: "analytics_update", total_orders: 3, total_revenue: "12.50", pending_orders: 1 });
  await requests[0]?.fail(403);
  const snapshot = await rendered();
  expect(snapshot.access).toBe("totals");
  expect(snapshot.totals?.total_revenue).toBe("12.50");
});

test("asks for a token after a 401, and reports a rejected one", async () => {
  metaError = new ApiError(401);
  await store.checkAccess();
  expect(await rendered()).toMatchObject({ access: "sign-in", signIn: { reason: "required", loginUrl: null } });
  sessionStorage.setItem("orderwire.token", "wrong");
  await store.checkAccess();
  expect(await rendered()).toMatchObject({ access: "sign-in", signIn: { reason: "rejected" } });
  metaError = undefined;
  await store.checkAccess();
  expect(await rendered()).toMatchObject({ access: "everything", signIn: null });
});

test("asks for a token after a terminal close, over the page, if the token is the reason", async () => {
  await store.checkAccess();
  metaError = new ApiError(401, { code: "invalid_token", login_url: "https://login.example/" });
  sessionStorage.setItem("orderwire.token", "revoked");
  service.emit("status", { state: "closed", code: 3500, reason: "invalid token", terminal: true });
  expect(await rendered()).toMatchObject({ access: "everything", signIn: { reason: "rejected", loginUrl: "https://login.example/" } });
  expect(service.disconnects).toBe(1);
});

test("asks for a token when the token has expired, and after no other close; then the feed goes on", async () => {
  await store.checkAccess();
  metaError = new ApiError(401, { code: "token_expired" });
  service.emit("disconnect", { code: 3001, reason: "drain" });
  expect((await rendered()).signIn).toBeNull();
  service.emit("disconnect", { code: 3005, reason: "token expired" });
  expect(await rendered()).toMatchObject({ access: "everything", signIn: { reason: "expired" } });
  expect(service.connects).toBe(0);
  metaError = new TypeError("Failed to fetch");
  await store.checkAccess();
  expect((await rendered()).signIn?.reason).toBe("unreachable");
  metaError = undefined;
  await store.checkAccess();
  expect(await rendered()).toMatchObject({ access: "everything", signIn: null });
  expect(service.connects).toBe(1);
});

test.each([
  ["viewer", "totals"],
  ["customer", "own"],
  ["admin", "everything"],
] as const)("shows a %s what that role sees", async (role, access) => {
  meta = { ...meta, role };
  await store.checkAccess();
  expect((await rendered()).access).toBe(access);
  service.emit("connect");
  expect(requests).toHaveLength(role === "viewer" ? 0 : 1);
  await requests[0]?.answer([row(1)]);
  expect((await rendered()).access).toBe(access);
});

test("loads the page anew when another token sees something else", async () => {
  const reload = vi.spyOn(location, "reload").mockImplementation(() => undefined);
  await store.checkAccess();
  metaError = new ApiError(401);
  await store.checkAccess();
  metaError = undefined;
  meta = { ...meta, role: "viewer" };
  await store.checkAccess();
  expect(reload).toHaveBeenCalledOnce();
});

test("says that a token without a role sees nothing", async () => {
  metaError = new ApiError(403);
  await store.checkAccess();
  expect(await rendered()).toMatchObject({ access: "sign-in", signIn: { reason: "no-role" } });
});

test("asks for no token while the server is unreachable", async () => {
  metaError = new TypeError("Failed to fetch");
  await store.checkAccess();
  expect((await rendered()).access).toBe("everything");
});

test("renders a thousand events together", async () => {
  let renders = 0;
  store.subscribe(() => renders++);
  for (let id = 1; id <= 1000; id++) service.emit("message", created(id));
  const snapshot = await rendered();
  expect(renders).toBeLessThanOrEqual(2);
  expect(snapshot.events).toHaveLength(200);
  expect(snapshot.events[0]).toMatchObject({ order_id: 1000 });
  expect(store.orders.size).toBe(1000);
});

test("has the statuses of the attached table", async () => {
  expect(store.getSnapshot().meta.statuses).toEqual([]);
  service.emit("connect");
  await requests[0]?.answer([row(1)]);
  expect((await rendered()).meta).toEqual(meta);
});

test("looks every few seconds whether a table has been attached, while there is none", async () => {
  meta = { ...meta, table: null };
  service.emit("connect");
  await requests[0]?.answer([]);
  service.emit("connect"); // must not double the requests
  await requests[1]?.answer([]);
  expect((await rendered()).meta.table).toBeNull();
  meta = { ...meta, table: "shop.orders" };
  await vi.advanceTimersByTimeAsync(5_000);
  expect(requests).toHaveLength(3);
  await requests[2]?.answer([row(1)]);
  expect((await rendered()).meta.table).toBe("shop.orders");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(requests).toHaveLength(3);
});

test("shows events of streams, and adds nothing to the orders", async () => {
  service.emit("connect");
  await requests[0]?.answer([row(1)]);
  service.emit("message", { type: "row_delete", id: "e-1-9", stream: "stock", key: "1", order_id: 1, at: "2026-01-02T03:04:05Z" });
  const snapshot = await rendered();
  expect(snapshot.events.map(({ type }) => type)).toEqual(["row_delete"]);
  expect(store.orders.size).toBe(1);
  expect([alerted, snapshot.toasts]).toEqual([[], []]);
});
