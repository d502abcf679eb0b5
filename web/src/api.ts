import type { OrderEvent, StreamEvent } from "@orderwire/client";
import type { Period } from "./periods.ts";
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

async function request(method: string, path: Path, query: Query = {}, signal: AbortSignal | null = AbortSignal.timeout(REQUEST_TIMEOUT_MS)): Promise<Response> {
  const token = getToken();
  const response = await fetch(urlOf(path, query), {
    method,
    headers: token === null ? {} : { Authorization: `Bearer ${token}` },
    signal,
  });
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function get<T>(path: Path, query: Query = {}): Promise<T> {
  return (await (await request("GET", path, query)).json()) as T;
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
  /** The newest orders that match, or those after a cursor. */
  search: (query: OrdersQuery, after?: string): Promise<OrderPage> =>
    get<OrderPage>("/api/orders", { ...query, limit: SEARCH_PAGE_SIZE, after }),
  /** All orders that match, as CSV. The body may take any time. */
  csv: (query: OrdersQuery): Promise<Response> => request("GET", "/api/orders.csv", { ...query }, null),
  /** `now`: the server's time at the response, in milliseconds since the Unix epoch; NaN if it does not tell. */
  series: async (period: Period): Promise<SeriesResponse & { now: number }> => {
    const response = await request("GET", "/api/series", { period });
    const now = Date.parse(response.headers.get("Date") ?? "");
    return { ...((await response.json()) as SeriesResponse), now };
  },
  /** One order, nothing of it cut. */
  order: (key: string): Promise<OrderRow> => get<OrderRow>(orderPath(key)),
  /** The newest events of one order, newest first. */
  orderEvents: (key: string, limit: number): Promise<{ events: (OrderEvent | StreamEvent)[] }> => get(`${orderPath(key)}/events`, { limit }),
  /** `as_of`: RFC 3339, by the server's clock. */
  analytics: (): Promise<{ as_of: string }> => get("/api/analytics"),
  /** Resolves to the id of the order's event. */
  sendTestOrder: (): Promise<{ id: string; key: string }> => request("POST", "/api/test-order").then((response) => response.json()),
  /** Oldest first. */
  events: (after: string | undefined, limit: number): Promise<EventPage> => get<EventPage>("/api/events", { after, limit }),
};

export type Api = typeof api;
