import type { Actor, OrderEvent, StreamEvent } from "@orderwire/client";
import type { Period } from "./periods.ts";
import { serverPath } from "./server.ts";
import { getToken } from "./token.ts";

/** The object `error` of an answer. */
export interface ErrorDetails {
  code?: string;
  message?: string;
  /** Of 401: where people sign in. */
  login_url?: string;
  /** Why a change is forbidden: "transition", "undo", "refused" and others. */
  reason?: string;
  /** With the code "conflict": the order's present status. */
  status?: string | null;
  /** With the code "conflict": who changed it last, if that is known. */
  actor?: Actor | null;
}

/** The server answered with a status other than 2xx. */
export class ApiError extends Error {
  readonly status: number;
  readonly details: ErrorDetails;
  /** How long to wait before the request is repeated, if the server says so. */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, details: ErrorDetails = {}, retryAfterMs?: number) {
    super(details.message ?? `the server answered ${status}`);
    this.status = status;
    this.details = details;
    this.retryAfterMs = retryAfterMs;
  }
}

/** An order as `/api/orders` has it. */
export interface OrderRow {
  id: number | string;
  key: string;
  order_number: string | null;
  customer_name: string | null;
  total: string | null;
  currency?: string;
  status: string | null;
  created_at: string | null;
  data?: Record<string, unknown>;
}

/** The response of `/api/orders`. */
export interface OrderPage {
  /** Newest first. */
  orders: OrderRow[];
  /** The cursor of the next page, null after the last one. */
  next: string | null;
  /** False if a search has stopped at its time limit. */
  complete?: boolean;
  /** Then: when the oldest order was made that it has looked at. RFC 3339. */
  searched_to?: string | null;
  /** The cursor of the event that the page is as of. */
  position?: string;
}

/** Which orders a list has. A field that is left out restricts nothing. */
export interface OrdersQuery {
  /** Part of the number, the customer's name or the key; `#` and the number; an amount. */
  q?: string;
  /** "": orders without one. */
  status?: readonly string[];
  /** A date in the shop's time zone, or RFC 3339. `created_at` is not before `from`, and before `to`. */
  from?: string;
  to?: string;
}

/** Number of orders and sum of their totals. The revenue is by currency, "" for none. */
export interface OrderSums {
  orders: number;
  revenue: Record<string, string>;
}

/** By status, "" for none. */
export type SumsByStatus = Record<string, OrderSums>;

/** The response of `/api/series`. */
export interface SeriesResponse {
  period: Period;
  time_zone: string;
  /** Oldest first, without gaps; the last one contains the present moment. `from` and `to` are RFC 3339. */
  buckets: { from: string; to: string; statuses: SumsByStatus }[];
  /** Over the whole table. */
  statuses: SumsByStatus;
  /** Today until now; yesterday, and the same day a week ago, until this time of day. */
  compare?: { today: SumsByStatus; yesterday: SumsByStatus; last_week: SumsByStatus };
  /** See `isIncluded`. Null while the server counts the orders: then there are no sums. */
  position: string | null;
  complete: boolean;
}

/** The response of `/api/events`. */
export interface EventPage {
  events: (OrderEvent | StreamEvent)[];
  next: string;
  more: boolean;
}

/** Whether the status of orders can be changed, and how. */
export interface WriteAccess {
  status: boolean;
  /** Why not: the server has no login, the table's map does not allow it, or the user's role does not. */
  reason: null | "no_login" | "not_in_map" | "role";
  /** The statuses that may follow each status; null: any change is allowed. */
  transitions: Record<string, string[]> | null;
}

/** The body of `PATCH /api/orders/KEY`. */
export interface StatusPatch {
  status: string;
  /** The status that the user saw. */
  from: string;
  /** The id of the event that this change reverses. */
  undo?: string;
}

/** The response of `/api/meta`: the attached table of orders. */
export interface Meta {
  /** Of the token; "admin" where there is no login. */
  role?: "admin" | "viewer" | "customer";
  /** Those that the map names, in the order in which to show them. Orders may have others. */
  statuses: string[];
  /** Orders with these count as pending. */
  pending?: string[];
  /** Orders with these do not count as revenue. */
  cancelled: string[];
  /** The shop's, an IANA name. */
  time_zone?: string;
  /** Null: no table is attached. Only an admin is told. */
  table?: string | null;
  /** Whether `POST /api/test-order` inserts an order. */
  test_order?: boolean;
  write?: WriteAccess;
}

const ORDERS_PAGE_SIZE = 1000;
const SEARCH_PAGE_SIZE = 200;
const REQUEST_TIMEOUT_MS = 15_000;

type Path = `/api/${string}`;
type Query = Readonly<Record<string, string | number | readonly string[] | undefined>>;

/** The path as the browser has to request it, with the parameters that are given. Those with a list are repeated. */
function urlOf(path: Path, query: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const each of Array.isArray(value) ? (value as readonly string[]) : [String(value)]) search.append(name, each);
  }
  const text = search.toString();
  return serverPath(path) + (text === "" ? "" : `?${text}`);
}

interface RequestOptions {
  method?: "GET" | "PATCH" | "POST";
  query?: Query;
  /** Null: the answer may take any time. */
  timeoutMs?: number | null;
  /** Ends the request when its answer is not wanted any more. */
  signal?: AbortSignal | undefined;
  body?: object;
}

async function request(path: Path, options: RequestOptions = {}): Promise<Response> {
  const { method = "GET", query = {}, timeoutMs = REQUEST_TIMEOUT_MS, signal, body } = options;
  const token = getToken();
  const response = await fetch(urlOf(path, query), {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    headers: {
      ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    },
    signal: endingOf(timeoutMs, signal),
  });
  if (!response.ok) throw await errorOf(response);
  return response;
}

function endingOf(timeoutMs: number | null, signal: AbortSignal | undefined): AbortSignal | null {
  if (timeoutMs === null) return signal ?? null;
  const timeout = AbortSignal.timeout(timeoutMs);
  return signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
}

async function get<T>(path: Path, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return (await (await request(path, { query, signal })).json()) as T;
}

/** Sends JSON, and returns that of the response. */
async function send<T>(method: "PATCH" | "POST", path: Path, body: object): Promise<T> {
  return (await (await request(path, { method, body })).json()) as T;
}

/** A proxy's answer may be no JSON. */
async function errorOf(response: Response): Promise<ApiError> {
  const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
  const body = (await response.json().catch(() => null)) as { error?: ErrorDetails } | null;
  return new ApiError(response.status, body?.error, Number.isNaN(seconds) ? undefined : seconds * 1000);
}

const orderPath = (key: string): Path => `/api/orders/${encodeURIComponent(key)}`;

export const api = {
  /** Every role may read it: a request for it shows whether the token is accepted. */
  meta: (): Promise<Meta> => get<Meta>("/api/meta"),
  /** The newest orders, or those after a cursor; of those made before a time (RFC 3339). */
  orders: (after?: string, to?: string): Promise<OrderPage> => get<OrderPage>("/api/orders", { limit: ORDERS_PAGE_SIZE, after, to }),
  /** The last order that was made before a time (RFC 3339), if there is one. */
  ordersBefore: (to: string): Promise<OrderPage> => get<OrderPage>("/api/orders", { to, limit: 1 }),
  /** The newest orders that match, or those after a cursor. */
  search: (query: OrdersQuery, after?: string, signal?: AbortSignal): Promise<OrderPage> =>
    get<OrderPage>("/api/orders", { ...query, limit: SEARCH_PAGE_SIZE, after }, signal),
  /** All orders that match, as CSV. The body may take any time. */
  csv: (query: OrdersQuery): Promise<Response> => request("/api/orders.csv", { query: { ...query }, timeoutMs: null }),
  /** `now`: the server's time at the response, in milliseconds since the Unix epoch; NaN if it does not tell. */
  series: async (period: Period): Promise<SeriesResponse & { now: number }> => {
    const response = await request("/api/series", { query: { period } });
    const now = Date.parse(response.headers.get("Date") ?? "");
    return { ...((await response.json()) as SeriesResponse), now };
  },
  /** One order, nothing of it cut. */
  order: (key: string): Promise<OrderRow> => get<OrderRow>(orderPath(key)),
  /** The newest events of one order, newest first. Also of an order that was deleted. */
  orderEvents: (key: string, limit: number): Promise<{ events: (OrderEvent | StreamEvent)[] }> => get(`${orderPath(key)}/events`, { limit }),
  /** The newest orders with a status. */
  ordersWithStatus: (status: string, limit: number): Promise<OrderPage> => get<OrderPage>("/api/orders", { status, limit }),
  /** `id`: of the event that the change made, null if it made none. */
  changeStatus: (key: string, change: StatusPatch): Promise<{ id: string | null; order: OrderRow | null }> => send("PATCH", orderPath(key), change),
  /** `as_of`: RFC 3339, by the server's clock. */
  analytics: (): Promise<{ as_of: string }> => get("/api/analytics"),
  /** `id`: of the order's event. */
  sendTestOrder: (): Promise<{ id: string; key: string }> => send("POST", "/api/test-order", {}),
  /** Oldest first. */
  events: (after: string | undefined, limit: number): Promise<EventPage> => get<EventPage>("/api/events", { after, limit }),
};

export type Api = typeof api;
