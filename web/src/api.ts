import type { OrderEvent } from "@orderwire/client";
import type { OrderRow } from "./state/order-book.ts";
import { getToken } from "./token.ts";

/** The server answered, and not with what was asked for. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`the server answered ${status}`);
    this.status = status;
  }
}

export interface EventPage {
  events: OrderEvent[];
  next: string;
  more: boolean;
}

export const ORDERS_PAGE = 1000;
const PATIENCE_MS = 15_000;

async function get<T>(path: string, query: Record<string, string | number | undefined> = {}): Promise<T> {
  const token = getToken();
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  const response = await fetch(given.length > 0 ? `${path}?${search}` : path, {
    headers: token === null ? {} : { Authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (!response.ok) throw new ApiError(response.status);
  return (await response.json()) as T;
}

export const api = {
  /** Newest first, older than the order `before`. */
  orders: async (before?: number): Promise<OrderRow[]> =>
    (await get<{ orders: OrderRow[] }>("/api/orders", { limit: ORDERS_PAGE, before })).orders,
  /** Oldest first. */
  events: (after: string | undefined, limit: number): Promise<EventPage> => get<EventPage>("/api/events", { after, limit }),
  /** For whether the server lets us in at all. */
  totals: (): Promise<unknown> => get("/api/analytics"),
};

export type Api = typeof api;
