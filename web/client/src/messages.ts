/** The messages of docs/reference/protocol.md. Amounts of money are decimal strings, times are RFC 3339. */

export type OrderStatus = "pending" | "confirmed" | "preparing" | "ready" | "delivering" | "delivered" | "cancelled";

interface EventBase {
  /** The cursor. Equal ids denote the same event. */
  id: string;
  order_id: number;
  order_number: string;
  at: string;
}

export interface NewOrder extends EventBase {
  type: "new_order";
  customer_name: string;
  total: string;
  status: OrderStatus;
}

export interface OrderStatusUpdate extends EventBase {
  type: "order_status_update";
  status: OrderStatus;
  previous_status: OrderStatus;
  customer_name?: string;
  total?: string;
}

export interface OrderUpdate extends EventBase {
  type: "order_update";
  customer_name?: string;
  total?: string;
}

export interface OrderDelete extends EventBase {
  type: "order_delete";
}

export type OrderEvent = NewOrder | OrderStatusUpdate | OrderUpdate | OrderDelete;

export interface AnalyticsUpdate {
  type: "analytics_update";
  total_orders: number;
  total_revenue: string;
  pending_orders: number;
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

export type ServerMessage = OrderEvent | AnalyticsUpdate | Resumed | Subscribed | Authenticated | ErrorMessage | Ping | Pong;

export type ClientMessage =
  | Ping
  | Pong
  | { type: "auth"; token: string }
  | { type: "subscribe" | "unsubscribe"; topics: string[] };

const EVENT_TYPES = ["new_order", "order_status_update", "order_update", "order_delete"];
const OTHER_TYPES = ["analytics_update", "resumed", "subscribed", "authenticated", "error", "ping", "pong"];

export function isOrderEvent(message: ServerMessage): message is OrderEvent {
  return EVENT_TYPES.includes(message.type);
}

/** Returns undefined for invalid JSON and for unknown types: newer servers may send types that this version does not know. */
export function parseMessage(text: string): ServerMessage | undefined {
  let message: ServerMessage | null;
  try {
    message = JSON.parse(text) as ServerMessage | null;
  } catch {
    return undefined;
  }
  if (message === null || typeof message !== "object") return undefined;
  if (EVENT_TYPES.includes(message.type)) return typeof (message as OrderEvent).id === "string" ? message : undefined;
  return OTHER_TYPES.includes(message.type) ? message : undefined;
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
