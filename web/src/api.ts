import type { Actor, OrderEvent, StreamEvent } from "@orderwire/client";
import { serverPath } from "./server.ts";
import { getToken } from "./token.ts";

/** The object `error` of an answer. */
export interface ErrorDetails {
  code?: string;
  message?: string;
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
  /** Those that the map names, in the order in which to show them. Orders may have others. */
  statuses: string[];
  /** Orders with these do not count as revenue. */
  cancelled: string[];
  /** Null: no table is attached. Only an admin is told. */
  table?: string | null;
  write?: WriteAccess;
}

const ORDERS_PAGE_SIZE = 1000;
const REQUEST_TIMEOUT_MS = 15_000;

type Path = `/api/${string}`;
type Query = Record<string, string | number | undefined>;

const get = <T>(path: Path, query: Query = {}): Promise<T> => request<T>("GET", path, query);

async function request<T>(method: string, path: Path, query: Query = {}, body?: object): Promise<T> {
  const token = getToken();
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  const url = serverPath(path);
  const response = await fetch(given.length > 0 ? `${url}?${search}` : url, {
    ...(body === undefined ? {} : { method, body: JSON.stringify(body) }),
    headers: {
      ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    },
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as T;
}

/** A proxy's answer may be no JSON. */
async function errorOf(response: Response): Promise<ApiError> {
  const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
  const body = (await response.json().catch(() => null)) as { error?: ErrorDetails } | null;
  return new ApiError(response.status, body?.error, Number.isNaN(seconds) ? undefined : seconds * 1000);
}

const orderPath = (key: string): Path => `/api/orders/${encodeURIComponent(key)}`;

export const api = {
  meta: (): Promise<Meta> => get<Meta>("/api/meta"),
  /** The newest orders, or those after a cursor. */
  orders: (after?: string): Promise<OrderPage> => get<OrderPage>("/api/orders", { limit: ORDERS_PAGE_SIZE, after }),
  /** One order, nothing of it cut. */
  order: (key: string): Promise<OrderRow> => get<OrderRow>(orderPath(key)),
  /** The newest events of one order, newest first. Also of an order that was deleted. */
  orderEvents: (key: string, limit: number): Promise<{ events: (OrderEvent | StreamEvent)[] }> => get(`${orderPath(key)}/events`, { limit }),
  /** The newest orders with a status. */
  ordersWithStatus: (status: string, limit: number): Promise<OrderPage> => get<OrderPage>("/api/orders", { status, limit }),
  /** `id`: of the event that the change made, null if it made none. */
  changeStatus: (key: string, patch: StatusPatch): Promise<{ id: string | null; order: OrderRow | null }> => request("PATCH", orderPath(key), {}, patch),
  /** Oldest first. */
  events: (after: string | undefined, limit: number): Promise<EventPage> => get<EventPage>("/api/events", { after, limit }),
  /** Every role may read these: a request for them shows whether the token is accepted. */
  totals: (): Promise<unknown> => get("/api/analytics"),
};

export type Api = typeof api;
