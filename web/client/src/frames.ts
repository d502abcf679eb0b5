/** The frames of the protocol, as in docs/reference/protocol.md. Money is a decimal string, times are RFC 3339. */

export type OrderStatus = "pending" | "confirmed" | "preparing" | "ready" | "delivering" | "delivered" | "cancelled";

interface EventHead {
  /** The cursor: equal ids are the same event. */
  id: string;
  order_id: number;
  order_number: string;
  at: string;
}

export interface NewOrder extends EventHead {
  type: "new_order";
  customer_name: string;
  total: string;
  status: OrderStatus;
}

export interface OrderStatusUpdate extends EventHead {
  type: "order_status_update";
  status: OrderStatus;
  previous_status: OrderStatus;
  customer_name?: string;
  total?: string;
}

export interface OrderUpdate extends EventHead {
  type: "order_update";
  customer_name?: string;
  total?: string;
}

export interface OrderDelete extends EventHead {
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
  expires: string;
}

export interface ErrorFrame {
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

export type ServerFrame = OrderEvent | AnalyticsUpdate | Resumed | Subscribed | Authenticated | ErrorFrame | Ping | Pong;

export type ClientFrame =
  | Ping
  | Pong
  | { type: "auth"; token: string }
  | { type: "subscribe" | "unsubscribe"; topics: string[] };

const EVENTS = ["new_order", "order_status_update", "order_update", "order_delete"];
const OTHERS = ["analytics_update", "resumed", "subscribed", "authenticated", "error", "ping", "pong"];

export function isOrderEvent(frame: ServerFrame): frame is OrderEvent {
  return EVENTS.includes(frame.type);
}

/** The frame, or undefined if it is not one that we know: versions evolve by addition. */
export function parse(text: string): ServerFrame | undefined {
  let frame: ServerFrame | null;
  try {
    frame = JSON.parse(text) as ServerFrame | null;
  } catch {
    return undefined;
  }
  if (frame === null || typeof frame !== "object") return undefined;
  if (EVENTS.includes(frame.type)) return typeof (frame as OrderEvent).id === "string" ? frame : undefined;
  return OTHERS.includes(frame.type) ? frame : undefined;
}

/**
 * Whether the event `id` happened after `than`, the last event of the same order that has been applied. Whoever keeps the state of
 * orders skips an event that is not: a resume may replay what is older than that state. In another epoch numbers start anew.
 */
export function isNewer(id: string, than: string | undefined): boolean {
  return than === undefined || epoch(id) !== epoch(than) || number(id) > number(than);
}

const epoch = (id: string): string => id.slice(0, id.indexOf("-"));
const number = (id: string): number => Number(id.slice(id.lastIndexOf("-") + 1));
