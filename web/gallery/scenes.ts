/** The scenes of the page: in each one every component is in the state that it has there. */

import type { ConnectionStatus, NewOrder, OrderEvent } from "@orderwire/client";
import type { Meta, OrderRow, SeriesResponse } from "../src/api.ts";
import { toOrder, type Order } from "../src/state/order-list.ts";
import type { HistoryEvent } from "../src/state/order-detail.ts";
import { Series } from "../src/state/series.ts";
import type { Notice, Outcome, StatusChange } from "../src/state/status-change.ts";
import type { StoreContents } from "./fixed-store.ts";

export const SCENES = ["usual", "waiting", "away", "extreme"] as const;
export type SceneName = (typeof SCENES)[number];

export interface Scene {
  readonly name: SceneName;
  readonly connection: ConnectionStatus;
  readonly store: StoreContents;
  /** The order of the components that show one, and its history. */
  readonly order: Order;
  readonly isDeleted: boolean;
  readonly history: readonly HistoryEvent[];
  readonly series: SeriesResponse;
  /** What the server answers to every request: a body, which has the members of all answers, an HTTP status, or nothing, ever. */
  readonly answer: object | number | null;
}

const NOW = Date.now();
const MINUTE = 60_000;
const before = (minutes: number): string => new Date(NOW - minutes * MINUTE).toISOString();

const STATUSES = ["pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled"];
const META: Meta = {
  role: "admin",
  statuses: STATUSES,
  pending: ["pending"],
  cancelled: ["cancelled"],
  time_zone: "UTC",
  table: "public.orders",
  test_order: true,
  write: { status: true, reason: null, transitions: null },
};

function row(key: number, fields: Partial<OrderRow> = {}): OrderRow {
  const base = { id: key, key: String(key), order_number: `ORD-2026-${String(key).padStart(6, "0")}`, customer_name: "Anna Nowak", total: "150.50", status: "pending" };
  return { ...base, created_at: before(3 * key), ...fields };
}

const orderOf = (fields: OrderRow, rank = 0, truncated: readonly string[] = []): Order => ({ ...toOrder(fields, rank), truncated });

const USUAL = STATUSES.flatMap((status, index) => [
  orderOf(row(2 * index + 1, { status }), -2 * index - 1),
  orderOf(row(2 * index + 2, { status, customer_name: "Иван Иванов", total: "1234.00" }), -2 * index - 2),
]);

function event(key: number, n: number, fields: object): OrderEvent {
  const base = { id: `e-1-${n}`, key: String(key), order_id: key, order_number: `ORD-2026-${String(key).padStart(6, "0")}`, at: before(60 - n) };
  return { ...base, ...fields } as OrderEvent;
}

const ANNA = { role: "serving", application_name: "dashboard: Anna Nowak" };
const created = (key: number, n: number, fields: object = {}) =>
  event(key, n, { type: "new_order", customer_name: "Anna Nowak", total: "150.50", status: "pending", actor: { role: "shop", application_name: "" }, ...fields }) as NewOrder;
const moved = (key: number, n: number, from: string | null, to: string | null, fields: object = {}) =>
  event(key, n, { type: "order_status_update", previous_status: from, status: to, actor: ANNA, ...fields });

/** Newest first; one of each type. */
const EVENTS: HistoryEvent[] = [
  event(1, 6, { type: "order_delete" }),
  { type: "row_update", stream: "stock_items", id: "e-1-5", key: "SKU 7", at: before(55), data: { quantity: 3 } },
  event(1, 4, { type: "order_update", total: "99.00", previous_total: "150.50", customer_name: "Пётр" }),
  moved(1, 3, "confirmed", "preparing"),
  moved(1, 2, "pending", "confirmed"),
  created(1, 1),
];

function seriesOf(sums: SeriesResponse["statuses"]): SeriesResponse {
  const columns = Array.from({ length: 60 }, (_, index) => 60 - index);
  return {
    period: "1h",
    time_zone: "UTC",
    buckets: columns.map((minutes) => ({ from: before(minutes), to: before(minutes - 1), statuses: minutes % 3 === 0 ? sums : {} })),
    statuses: sums,
    compare: { today: sums, yesterday: sums, last_week: {} },
    position: null,
    complete: true,
  };
}

const USUAL_SUMS: SeriesResponse["statuses"] = Object.fromEntries(
  STATUSES.map((status, index) => [status, { orders: 3 * index, revenue: { "": `${100 * index}.50`, EUR: "12.00" } }]),
);
const viewOf = (series: SeriesResponse, isComplete = true) => new Series(series).view({ cancelled: new Set(META.cancelled), mainCurrency: "PLN" }, isComplete);

function notice(key: number, to: string, outcomes: readonly Outcome[], fields: Partial<Notice> = {}): Notice {
  const numbers = outcomes.map((_, index) => `ORD-2026-${String(index + 1).padStart(6, "0")}`);
  return { key, to, isUndo: false, numbers, already: 0, unknown: 0, outcomes, canUndo: false, ...fields };
}

const change = (order: Order, to: string, state: StatusChange["state"]): [string, StatusChange] => [
  order.key,
  { key: order.key, number: order.number, from: order.status, to, state },
];
const orderAt = (orders: readonly Order[], index: number): Order => orders[index] as Order;

const usual: Scene = {
  name: "usual",
  connection: { state: "online", transport: "websocket", live: true },
  store: {
    meta: META,
    orders: USUAL,
    totals: { type: "analytics_update", total_orders: 63, total_revenue: "2103.50", pending_orders: 17 },
    series: viewOf(seriesOf(USUAL_SUMS)),
    events: EVENTS.filter((each) => each.type !== "row_update"),
    toasts: [{ key: 1, order: created(1, 1), count: 1, firstAt: NOW, newestAt: NOW, expiresAt: NOW + 1e9 }],
    lastMessageAt: NOW,
    changes: {
      changes: new Map([change(orderAt(USUAL, 1), "ready", "sent"), change(orderAt(USUAL, 3), "ready", "unknown")]),
      notices: [
        notice(1, "ready", [{ kind: "changed", id: "e-1-7" }], { canUndo: true }),
        notice(2, "confirmed", [{ kind: "changed", id: "e-1-8" }], { isUndo: true }),
        notice(3, "ready", [{ kind: "faster", status: "cancelled", actor: ANNA }]),
        notice(4, "ready", [{ kind: "changed", id: null }, { kind: "faster", status: "ready", actor: null }, { kind: "refused", reason: null, message: "too late" }, { kind: "gone" }, { kind: "unchanged" }]),
      ],
    },
  },
  order: orderOf(row(1, { data: { delivery_address: { street: "Długa 5", doors: ["a", "b"] }, paid: true, packed_at: before(5), note: null } })),
  isDeleted: false,
  history: EVENTS.slice(1),
  series: seriesOf(USUAL_SUMS),
  answer: { ...row(1), events: EVENTS, next: "", more: true },
};

/** The page has just been opened, and nothing has come yet. */
const waiting: Scene = {
  ...usual,
  name: "waiting",
  connection: { state: "connecting", attempt: 0 },
  store: { meta: { statuses: [], cancelled: [] }, orders: [], ordersState: "loading", seriesProblem: "counting" },
  history: [],
  series: { ...seriesOf({}), buckets: [] },
  answer: null,
};

/** The server is away, what is shown is old, and the table's map allows no change. */
const away: Scene = {
  ...usual,
  name: "away",
  connection: { state: "waiting", attempt: 3, maxAttempts: Infinity, retryAt: NOW + 1e7 },
  store: {
    ...usual.store,
    meta: { ...META, write: { status: false, reason: "no_login", transitions: null } },
    orders: [],
    ordersState: "failed",
    seriesProblem: "failed",
    toasts: [],
    events: [{ type: "gap", id: "gap-1", at: before(2) }, ...EVENTS.slice(3)],
    lastMessageAt: NOW - 5 * MINUTE,
    signIn: { reason: "expired", loginUrl: "https://login.example/in" },
    changes: { changes: new Map(), notices: [notice(1, "ready", [{ kind: "unchanged" }]), { ...notice(2, "ready", []), numbers: ["ORD-2026-000002"], unknown: 1 }] },
    search: { state: "failed", complete: false, more: true, searchedTo: null },
  },
  isDeleted: true,
  history: EVENTS.slice(0, 5),
  answer: 503,
};

const LONG = "Очень длинное имя, которое не помещается никуда, и ещё немного ".repeat(6);
const LONG_STATUS = "wartet_auf_die_bestaetigung_der_filialleitung_und_der_zentrale";
const HUGE = "123456789012345678901234567890.12";
const HEBREW = "ישראל ישראלי 12345";
const ARABIC = "مطعم الياسمين";

const EXTREME = [
  row(1, { customer_name: HEBREW, total: HUGE, currency: "EUR" }),
  row(2, { customer_name: ARABIC, total: "-0.01", currency: "JPY", status: LONG_STATUS }),
  row(3, { customer_name: LONG, order_number: "№".repeat(200), total: HUGE, status: null }),
  row(4, { customer_name: null, total: null, status: "待处理", created_at: null }),
  row(5, { customer_name: "x".repeat(300), total: "1.00", currency: "no such currency", created_at: "10000-01-01T00:00:00Z", status: "<b>bold</b>" }),
].map((each, index) => orderOf(each, -index, ["customer_name"]));
const EXTREME_STATUSES = ["", LONG_STATUS, "待处理", "<b>bold</b>", "pending"];
const EXTREME_SUMS = Object.fromEntries(EXTREME_STATUSES.map((status) => [status, { orders: 9_007_199_254_740_991, revenue: { "": HUGE, EUR: HUGE, JPY: "1" } }]));
const EXTREME_EVENTS = [
  moved(1, 5, LONG_STATUS, null, { customer_name: ARABIC, actor: { role: "x".repeat(63), application_name: HEBREW } }),
  event(2, 4, { type: "order_update", total: HUGE, previous_total: "-0.01", currency: "JPY", order_number: "№".repeat(200) }),
  created(1, 3, { customer_name: HEBREW, total: HUGE, at: "10000-01-01T00:00:00Z" }),
];

/** What a table may hold: names from right to left, long texts, huge numbers, unknown statuses and currencies, no values. */
const extreme: Scene = {
  name: "extreme",
  connection: { state: "online", transport: "sse", live: false, since: before(90) },
  store: {
    meta: { ...META, statuses: EXTREME_STATUSES.filter((status) => status !== ""), table: `shop.${"x".repeat(60)}`, test_order: false },
    orders: EXTREME,
    totals: {
      type: "analytics_update",
      total_orders: 9_007_199_254_740_991,
      total_revenue: HUGE,
      pending_orders: 9_007_199_254_740_991,
      revenue_by_currency: { PLN: HUGE, EUR: HUGE, JPY: HUGE, CHF: HUGE, GBP: HUGE, CZK: HUGE },
    },
    series: viewOf(seriesOf(EXTREME_SUMS), false),
    events: EXTREME_EVENTS,
    toasts: [{ key: 1, order: created(2, 6, { customer_name: LONG, order_number: "№".repeat(200) }), count: 12_345, firstAt: NOW, newestAt: NOW, expiresAt: NOW + 1e9 }],
    lastMessageAt: NOW - 90 * MINUTE,
    changes: {
      changes: new Map(),
      notices: [{ ...notice(1, LONG_STATUS, [{ kind: "refused", reason: null, message: LONG }]), numbers: ["№".repeat(200)] }],
    },
    search: { state: "ready", complete: false, more: true, searchedTo: before(1e6) },
  },
  order: { ...orderAt(EXTREME, 2), customer: HEBREW, data: { [`name_${"x".repeat(80)}`]: "x".repeat(300), [HEBREW]: ARABIC, deep: { a: { b: { c: { d: [1, 2] } } } }, empty: [], n: 1e300 } },
  isDeleted: false,
  history: EXTREME_EVENTS,
  series: seriesOf(EXTREME_SUMS),
  answer: { ...row(2), events: EXTREME_EVENTS, next: "", more: false },
};

const scenes: Record<SceneName, Scene> = { usual, waiting, away, extreme };
const wanted = new URLSearchParams(location.search).get("scene");

/** That of the address, `?scene=away`. */
export const scene: Scene = scenes[SCENES.find((name) => name === wanted) ?? "usual"];
