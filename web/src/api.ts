import type { OrderEvent, StreamEvent } from "@orderwire/client";
import type { Period } from "./periods.ts";
import { serverPath } from "./server.ts";
import { getToken } from "./token.ts";

/** The server answered with a status other than 2xx. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`the server answered ${status}`);
    this.status = status;
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
}

const ORDERS_PAGE_SIZE = 1000;
const SEARCH_PAGE_SIZE = 200;
const REQUEST_TIMEOUT_MS = 15_000;

type Query = Readonly<Record<string, string | number | readonly string[] | undefined>>;

/** The path as the browser has to request it, with the parameters that are given. Those with a list are repeated. */
function urlOf(path: `/api/${string}`, query: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const each of Array.isArray(value) ? (value as readonly string[]) : [String(value)]) search.append(name, each);
  }
  const text = search.toString();
  return serverPath(path) + (text === "" ? "" : `?${text}`);
}

async function request(path: `/api/${string}`, query: Query = {}, signal: AbortSignal | null = AbortSignal.timeout(REQUEST_TIMEOUT_MS)): Promise<Response> {
  const token = getToken();
  const response = await fetch(urlOf(path, query), {
    headers: token === null ? {} : { Authorization: `Bearer ${token}` },
    signal,
  });
  if (!response.ok) throw new ApiError(response.status);
  return response;
}

async function get<T>(path: `/api/${string}`, query: Query = {}): Promise<T> {
  return (await (await request(path, query)).json()) as T;
}

export const api = {
  meta: (): Promise<Meta> => get<Meta>("/api/meta"),
  /** The newest orders, or those after a cursor. */
  orders: (after?: string): Promise<OrderPage> => get<OrderPage>("/api/orders", { limit: ORDERS_PAGE_SIZE, after }),
  /** The newest orders that match, or those after a cursor. */
  search: (query: OrdersQuery, after?: string): Promise<OrderPage> =>
    get<OrderPage>("/api/orders", { ...query, limit: SEARCH_PAGE_SIZE, after }),
  /** All orders that match, as CSV. The body may take any time. */
  csv: (query: OrdersQuery): Promise<Response> => request("/api/orders.csv", { ...query }, null),
  /** `now`: the server's time at the response, in milliseconds since the Unix epoch; NaN if it does not tell. */
  series: async (period: Period): Promise<SeriesResponse & { now: number }> => {
    const response = await request("/api/series", { period });
    const now = Date.parse(response.headers.get("Date") ?? "");
    return { ...((await response.json()) as SeriesResponse), now };
  },
  /** One order, nothing of it cut. */
  order: (key: string): Promise<OrderRow> => get<OrderRow>(`/api/orders/${encodeURIComponent(key)}`),
  /** Oldest first. */
  events: (after: string | undefined, limit: number): Promise<EventPage> => get<EventPage>("/api/events", { after, limit }),
  /** Every role may read these: a request for them shows whether the token is accepted. */
  totals: (): Promise<unknown> => get("/api/analytics"),
};

export type Api = typeof api;
