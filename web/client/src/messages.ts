/** What is asked of a message; its types are in protocol.ts. */

import type { OrderEvent, ServerMessage, StreamEvent } from "./protocol.js";

export type {
  Actor,
  AnalyticsUpdate,
  Authenticated,
  ClientMessage,
  ErrorMessage,
  FeedStatus,
  NewOrder,
  OrderDelete,
  OrderEvent,
  OrderStatusUpdate,
  OrderUpdate,
  Ping,
  Pong,
  Resumed,
  ServerMessage,
  StreamEvent,
  Subscribed,
} from "./protocol.js";

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
