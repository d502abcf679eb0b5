import type { OrderEvent, StreamEvent } from "@orderwire/client";
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
  /** Orders with these do not count as revenue. */
  cancelled: string[];
  /** Null: no table is attached. Only an admin is told. */
  table?: string | null;
}

const ORDERS_PAGE_SIZE = 1000;
const REQUEST_TIMEOUT_MS = 15_000;

async function get<T>(path: `/api/${string}`, query: Record<string, string | number | undefined> = {}): Promise<T> {
  const token = getToken();
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  const url = serverPath(path);
  const response = await fetch(given.length > 0 ? `${url}?${search}` : url, {
    headers: token === null ? {} : { Authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  if (!response.ok) throw new ApiError(response.status);
  return (await response.json()) as T;
}

export const api = {
  meta: (): Promise<Meta> => get<Meta>("/api/meta"),
  /** The newest orders, or those after a cursor. */
  orders: (after?: string): Promise<OrderPage> => get<OrderPage>("/api/orders", { limit: ORDERS_PAGE_SIZE, after }),
  /** One order, nothing of it cut. */
  order: (key: string): Promise<OrderRow> => get<OrderRow>(`/api/orders/${encodeURIComponent(key)}`),
  /** Oldest first. */
  events: (after: string | undefined, limit: number): Promise<EventPage> => get<EventPage>("/api/events", { after, limit }),
  /** Every role may read these: a request for them shows whether the token is accepted. */
  totals: (): Promise<unknown> => get("/api/analytics"),
};

export type Api = typeof api;
