import type { OrderEvent, OrderStatus } from "@orderwire/client";
import { getToken } from "./token.ts";

/** The server answered with a status other than 2xx. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`the server answered ${status}`);
    this.status = status;
  }
}

/** A row of `/api/orders`. */
export interface OrderRow {
  id: number;
  order_number: string;
  customer_name: string;
  total: string;
  status: OrderStatus;
  created_at: string;
  updated_at: string;
}

/** The response of `/api/events`. */
export interface EventPage {
  events: OrderEvent[];
  next: string;
  more: boolean;
}

export const ORDERS_PAGE_SIZE = 1000;
const REQUEST_TIMEOUT_MS = 15_000;

async function get<T>(path: string, query: Record<string, string | number | undefined> = {}): Promise<T> {
  const token = getToken();
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  const response = await fetch(given.length > 0 ? `${path}?${search}` : path, {
    headers: token === null ? {} : { Authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  if (!response.ok) throw new ApiError(response.status);
  return (await response.json()) as T;
}

export const api = {
  /** Newest first. With `before`, the orders with a smaller id. */
  orders: async (before?: number): Promise<OrderRow[]> =>
    (await get<{ orders: OrderRow[] }>("/api/orders", { limit: ORDERS_PAGE_SIZE, before })).orders,
  /** Oldest first. */
  events: (after: string | undefined, limit: number): Promise<EventPage> => get<EventPage>("/api/events", { after, limit }),
  /** Every role may read these: a request for them shows whether the token is accepted. */
  totals: (): Promise<unknown> => get("/api/analytics"),
};

export type Api = typeof api;
