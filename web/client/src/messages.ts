/** The messages of docs/reference/protocol.md. Amounts of money are decimal strings, times are RFC 3339. */

/** Who made a change: the database role, and the `application_name` of its connection. */
export interface Actor {
  role: string;
  application_name: string;
}

interface EventBase {
  /** The cursor. Equal ids denote the same event. */
  id: string;
  key: string;
  /** Columns that the map of the table adds. Left out of an update that does not change them. */
  data?: Record<string, unknown>;
  /** The fields that are cut, or left out. GET /api/orders/<key> has them whole. */
  truncated?: string[];
  actor?: Actor;
  at: string;
}

interface OrderEventBase extends EventBase {
  /** The key as a number if it is one that JavaScript can hold exactly, otherwise the same text as `key`. */
  order_id: number | string;
  order_number?: string;
  /** The currency of `total`, if the table has one; of a deleted order, the one that it had. */
  currency?: string | null;
  /** When the shop created the order, if the table says so. */
  created_at?: string | null;
}

/** What an update has changed: missing is as before. */
interface PreviousValues {
  previous_total?: string | null;
  previous_currency?: string | null;
  previous_created_at?: string | null;
}

export interface NewOrder extends OrderEventBase {
  type: "new_order";
  customer_name: string | null;
  total: string | null;
  /** Any text: the table decides which there are. */
  status: string | null;
}

export interface OrderStatusUpdate extends OrderEventBase, PreviousValues {
  type: "order_status_update";
  status: string | null;
  previous_status: string | null;
  /** Missing if it has not changed. */
  customer_name?: string | null;
  total?: string | null;
}

export interface OrderUpdate extends OrderEventBase, PreviousValues {
  type: "order_update";
  /** Missing if it has not changed. */
  customer_name?: string | null;
  total?: string | null;
  status?: string | null;
}

/** `currency` and `created_at` are those that the order had. */
export interface OrderDelete extends OrderEventBase {
  type: "order_delete";
  previous_status?: string | null;
  previous_total?: string | null;
}

export type OrderEvent = NewOrder | OrderStatusUpdate | OrderUpdate | OrderDelete;

/** A change of a row of a further attached table. */
export interface StreamEvent extends EventBase {
  type: "row_insert" | "row_update" | "row_delete";
  stream: string;
  /** The order that the row belongs to, if the table says so. */
  order_id?: number | string;
}

export interface AnalyticsUpdate {
  type: "analytics_update";
  total_orders: number;
  /** Of the server's setting CURRENCY if the table has currencies. */
  total_revenue: string;
  pending_orders: number;
  revenue_by_currency?: Record<string, string>;
}

/** Whether events flow. Sent when that changes, and next after the first message while they do not. */
export interface FeedStatus {
  type: "feed_status";
  live: boolean;
  /** Since when. Not live: everything up to then has been delivered. */
  since: string;
  /** Why they do not flow, for people. */
  reason?: string;
}

export interface Resumed {
  type: "resumed";
  recovered: boolean;
  replayed: number;
}

export interface Subscribed {
  type: "subscribed";
  topics: string[];
}

export interface Authenticated {
  type: "authenticated";
  role: "admin" | "viewer" | "customer";
  /** When the session ends unless a fresh token is sent; null if the server needs no token. */
  expires: string | null;
}

export interface ErrorMessage {
  type: "error";
  code: string;
  message: string;
}

export interface Ping {
  type: "ping";
}

export interface Pong {
  type: "pong";
}

export type ServerMessage =
  | OrderEvent
  | StreamEvent
  | AnalyticsUpdate
  | FeedStatus
  | Resumed
  | Subscribed
  | Authenticated
  | ErrorMessage
  | Ping
  | Pong;

export type ClientMessage =
  | Ping
  | Pong
  | { type: "auth"; token: string }
  | { type: "subscribe" | "unsubscribe"; topics: string[] };

const EVENT_TYPES = ["new_order", "order_status_update", "order_update", "order_delete", "row_insert", "row_update", "row_delete"];
const OTHER_TYPES = ["analytics_update", "feed_status", "resumed", "subscribed", "authenticated", "error", "ping", "pong"];

/** Whether it is a change: of an order, or of a row of a stream. */
export function isEvent(message: ServerMessage): message is OrderEvent | StreamEvent {
  return EVENT_TYPES.includes(message.type);
}

export function isOrderEvent(message: ServerMessage): message is OrderEvent {
  return isEvent(message) && !("stream" in message);
}

/** Returns undefined for invalid JSON and for unknown types: newer servers may send types that this version does not know. */
export function parseMessage(text: string): ServerMessage | undefined {
  try {
    const message = JSON.parse(text) as ServerMessage;
    return (isEvent(message) ? typeof message.id === "string" : OTHER_TYPES.includes(message.type)) ? message : undefined;
  } catch {
    return undefined; // no JSON, or null, which has no type
  }
}

/**
 * Whether the event `id` is newer than `lastApplied`, the last event applied to the same order. An application that stores orders must
 * skip older events, because a resume may replay events from before its stored state. Sequence numbers restart in a new epoch, so an
 * event of another epoch counts as newer.
 */
export function isNewer(id: string, lastApplied: string | undefined): boolean {
  return lastApplied === undefined || epoch(id) !== epoch(lastApplied) || sequence(id) > sequence(lastApplied);
}

const epoch = (id: string): string => id.slice(0, id.indexOf("-"));
const sequence = (id: string): number => Number(id.slice(id.lastIndexOf("-") + 1));

/**
 * Whether the answer of /api/series or /api/orders that has this `position` includes the event `id`. An application that keeps the answer
 * up to date applies every other event. True in another epoch: the server then says that everything has to be fetched anew.
 */
export function isIncluded(id: string, position: string): boolean {
  if (lastSnapshot.position !== position) lastSnapshot = parseSnapshot(position);
  const { xmin, xmax, running } = lastSnapshot;
  const transaction = Number(id.split("-")[1]);
  return epoch(id) !== epoch(position) || transaction < xmin || (transaction < xmax && !running.includes(transaction));
}

/** Of the position that was asked for last: many events are compared with one position. */
let lastSnapshot = parseSnapshot("");

function parseSnapshot(position: string) {
  const snapshot = /^\w+-s([0-9.]+)/.exec(position)?.[1] ?? "";
  const [xmin = 0, xmax = 0, ...running] = snapshot.split(".").map(Number);
  return { position, xmin, xmax, running };
}
