import type { OrderEvent, StreamEvent } from "@orderwire/client";
import { serverPath } from "./server.ts";
import { getToken } from "./token.ts";

/** The object `error` of an answer. */
export interface ErrorDetails {
  code?: string;
  message?: string;
  /** Of 401: where people sign in. */
  login_url?: string;
}

/** The server answered with a status other than 2xx. */
export class ApiError extends Error {
  readonly status: number;
  readonly details: ErrorDetails;

  constructor(status: number, details: ErrorDetails = {}) {
    super(details.message ?? `the server answered ${status}`);
    this.status = status;
    this.details = details;
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
}

/** The response of `/api/events`. */
export interface EventPage {
  events: (OrderEvent | StreamEvent)[];
  next: string;
  more: boolean;
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
  /** An IANA name. */
  time_zone: string;
  /** Oldest first, without gaps; the last one contains the present moment. `from` and `to` are RFC 3339. */
  buckets: { from: string; to: string; statuses: SumsByStatus }[];
  /** Over the whole table. */
  statuses: SumsByStatus;
  /** Today until now; yesterday, and the same day a week ago, until this time of day. */
  compare?: { today: SumsByStatus; yesterday: SumsByStatus; last_week: SumsByStatus };
  /** False while the server counts for the first time. */
  complete: boolean;
}

/** The response of `/api/meta`: the attached table of orders. */
export interface Meta {
  /** Of the token; "admin" where there is no login. */
  role?: "admin" | "viewer" | "customer";
  /** Those that the map names, in the order in which to show them. Orders may have others. */
  statuses: string[];
  /** Orders with these do not count as revenue. */
  cancelled: string[];
  /** Null: no table is attached. Only an admin is told. */
  table?: string | null;
  /** Whether `POST /api/test-order` inserts an order. */
  test_order?: boolean;
}

const ORDERS_PAGE_SIZE = 1000;
const REQUEST_TIMEOUT_MS = 15_000;

type Path = `/api/${string}`;
type Query = Record<string, string | number | undefined>;

const get = <T>(path: Path, query: Query = {}): Promise<T> => request<T>("GET", path, query);

async function request<T>(method: string, path: Path, query: Query = {}): Promise<T> {
  const token = getToken();
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  const url = serverPath(path);
  const response = await fetch(given.length > 0 ? `${url}?${search}` : url, {
    method,
    headers: token === null ? {} : { Authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as T;
}

/** A proxy's answer may be no JSON. */
async function errorOf(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => null)) as { error?: ErrorDetails } | null;
  return new ApiError(response.status, body?.error);
}

const orderPath = (key: string): Path => `/api/orders/${encodeURIComponent(key)}`;

export const api = {
  /** Every role may read it: a request for it shows whether the token is accepted. */
  meta: (): Promise<Meta> => get<Meta>("/api/meta"),
  /** The newest orders, or those after a cursor. */
  orders: (after?: string): Promise<OrderPage> => get<OrderPage>("/api/orders", { limit: ORDERS_PAGE_SIZE, after }),
  /** The last order that was made before a time (RFC 3339), if there is one. */
  ordersBefore: (to: string): Promise<OrderPage> => get<OrderPage>("/api/orders", { to, limit: 1 }),
  /** One order, nothing of it cut. */
  order: (key: string): Promise<OrderRow> => get<OrderRow>(orderPath(key)),
  /** The newest events of one order, newest first. */
  orderEvents: (key: string, limit: number): Promise<{ events: (OrderEvent | StreamEvent)[] }> => get(`${orderPath(key)}/events`, { limit }),
  series: (period: "1h" | "24h" | "7d"): Promise<SeriesResponse> => get<SeriesResponse>("/api/series", { period }),
  /** `as_of`: RFC 3339, by the server's clock. */
  analytics: (): Promise<{ as_of: string }> => get("/api/analytics"),
  /** Resolves to the id of the order's event. */
  sendTestOrder: (): Promise<{ id: string; key: string }> => request("POST", "/api/test-order"),
  /** Oldest first. */
  events: (after: string | undefined, limit: number): Promise<EventPage> => get<EventPage>("/api/events", { after, limit }),
};

export type Api = typeof api;
