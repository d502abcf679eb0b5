/**
 * The messages of docs/reference/protocol.md. Amounts of money are decimal strings, times are RFC 3339.
 *
 * Made from push/protocol/schema.py by `make types`: change that file, not this one.
 */

/** Who made a change. Customers are not told. */
export interface Actor {
  /** The database role. */
  role: string;
  /** The `application_name` of its connection. */
  application_name: string;
}

/** A row became an order. */
export interface NewOrder {
  type: "new_order";
  /** The cursor. Equal ids denote the same event. */
  id: string;
  /** The key as a number if it is one that JavaScript can hold exactly, otherwise the same text as `key`. */
  order_id: number | string;
  /** The key of the order, as a text. */
  key: string;
  /** Null where the row has none. */
  customer_name: string | null;
  /** A decimal string. */
  total: string | null;
  /** Any text: the table decides which there are. */
  status: string | null;
  /** The time of the writer's statement. */
  at: string;
  /** Columns that the map of the table adds. Left out of an update that does not change them. */
  data?: Record<string, unknown>;
  /** The fields that are cut, or left out. GET /api/orders/<key> has them whole. */
  truncated?: string[];
  actor?: Actor;
  /** Null or missing where the row has none. */
  order_number?: string | null;
  /** The currency of `total`, if the table has one; of a deleted order, the one that it had. */
  currency?: string | null;
  /** When the shop created the order, if the table says so. */
  created_at?: string | null;
}

/** The status of an order changed. */
export interface OrderStatusUpdate {
  type: "order_status_update";
  /** The cursor. Equal ids denote the same event. */
  id: string;
  /** The key as a number if it is one that JavaScript can hold exactly, otherwise the same text as `key`. */
  order_id: number | string;
  /** The key of the order, as a text. */
  key: string;
  /** Any text: the table decides which there are. */
  status: string | null;
  /** The status before. */
  previous_status: string | null;
  /** The time of the writer's statement. */
  at: string;
  /** Columns that the map of the table adds. Left out of an update that does not change them. */
  data?: Record<string, unknown>;
  /** The fields that are cut, or left out. GET /api/orders/<key> has them whole. */
  truncated?: string[];
  actor?: Actor;
  /** Null or missing where the row has none. */
  order_number?: string | null;
  /** The currency of `total`, if the table has one; of a deleted order, the one that it had. */
  currency?: string | null;
  /** When the shop created the order, if the table says so. */
  created_at?: string | null;
  /** Missing if it has not changed. */
  customer_name?: string | null;
  /** A decimal string. */
  total?: string | null;
  /** The total before, if it has changed. */
  previous_total?: string | null;
  /** The currency before, if it has changed. */
  previous_currency?: string | null;
  /** `created_at` before, if it has changed. */
  previous_created_at?: string | null;
}

/** Something else of an order changed that the map mentions. */
export interface OrderUpdate {
  type: "order_update";
  /** The cursor. Equal ids denote the same event. */
  id: string;
  /** The key as a number if it is one that JavaScript can hold exactly, otherwise the same text as `key`. */
  order_id: number | string;
  /** The key of the order, as a text. */
  key: string;
  /** The time of the writer's statement. */
  at: string;
  /** Columns that the map of the table adds. Left out of an update that does not change them. */
  data?: Record<string, unknown>;
  /** The fields that are cut, or left out. GET /api/orders/<key> has them whole. */
  truncated?: string[];
  actor?: Actor;
  /** Null or missing where the row has none. */
  order_number?: string | null;
  /** The currency of `total`, if the table has one; of a deleted order, the one that it had. */
  currency?: string | null;
  /** When the shop created the order, if the table says so. */
  created_at?: string | null;
  /** Missing if it has not changed. */
  customer_name?: string | null;
  /** A decimal string. */
  total?: string | null;
  /** Any text: the table decides which there are. */
  status?: string | null;
  /** The total before, if it has changed. */
  previous_total?: string | null;
  /** The currency before, if it has changed. */
  previous_currency?: string | null;
  /** `created_at` before, if it has changed. */
  previous_created_at?: string | null;
}

/** It is no order any more. `currency` and `created_at` are those that it had. */
export interface OrderDelete {
  type: "order_delete";
  /** The cursor. Equal ids denote the same event. */
  id: string;
  /** The key as a number if it is one that JavaScript can hold exactly, otherwise the same text as `key`. */
  order_id: number | string;
  /** The key of the order, as a text. */
  key: string;
  /** The time of the writer's statement. */
  at: string;
  /** Columns that the map of the table adds. Left out of an update that does not change them. */
  data?: Record<string, unknown>;
  /** The fields that are cut, or left out. GET /api/orders/<key> has them whole. */
  truncated?: string[];
  actor?: Actor;
  /** Null or missing where the row has none. */
  order_number?: string | null;
  /** The currency of `total`, if the table has one; of a deleted order, the one that it had. */
  currency?: string | null;
  /** When the shop created the order, if the table says so. */
  created_at?: string | null;
  /** The status that it had. */
  previous_status?: string | null;
  /** The total that it had. */
  previous_total?: string | null;
}

/** A row of a stream was inserted. */
export interface RowInsert {
  type: "row_insert";
  /** The cursor. Equal ids denote the same event. */
  id: string;
  /** The name of the stream. */
  stream: string;
  /** The key of the row, as a text. */
  key: string;
  /** The time of the writer's statement. */
  at: string;
  /** Columns that the map of the table adds. Left out of an update that does not change them. */
  data?: Record<string, unknown>;
  /** The fields that are cut, or left out. GET /api/orders/<key> has them whole. */
  truncated?: string[];
  actor?: Actor;
  /** The order that the row belongs to, if the table says so. */
  order_id?: number | string;
}

/** A row of a stream was changed. */
export interface RowUpdate {
  type: "row_update";
  /** The cursor. Equal ids denote the same event. */
  id: string;
  /** The name of the stream. */
  stream: string;
  /** The key of the row, as a text. */
  key: string;
  /** The time of the writer's statement. */
  at: string;
  /** Columns that the map of the table adds. Left out of an update that does not change them. */
  data?: Record<string, unknown>;
  /** The fields that are cut, or left out. GET /api/orders/<key> has them whole. */
  truncated?: string[];
  actor?: Actor;
  /** The order that the row belongs to, if the table says so. */
  order_id?: number | string;
}

/** A row of a stream was deleted. */
export interface RowDelete {
  type: "row_delete";
  /** The cursor. Equal ids denote the same event. */
  id: string;
  /** The name of the stream. */
  stream: string;
  /** The key of the row, as a text. */
  key: string;
  /** The time of the writer's statement. */
  at: string;
  /** Columns that the map of the table adds. Left out of an update that does not change them. */
  data?: Record<string, unknown>;
  /** The fields that are cut, or left out. GET /api/orders/<key> has them whole. */
  truncated?: string[];
  actor?: Actor;
  /** The order that the row belongs to, if the table says so. */
  order_id?: number | string;
}

/** The totals: the first message of a session with topic `analytics`; then after changes, always the newest. */
export interface AnalyticsUpdate {
  type: "analytics_update";
  /** The number of orders. */
  total_orders: number;
  /** Of the server's setting CURRENCY if the table has currencies. */
  total_revenue: string;
  /** The number of pending orders. */
  pending_orders: number;
  /** The revenue of each currency, if the table has currencies. */
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

/** Answers a resume. Not recovered: the gap cannot be closed, and everything has to be fetched anew. */
export interface Resumed {
  type: "resumed";
  recovered: boolean;
  /** The number of events that follow. */
  replayed: number;
}

/** All topics that the session has now. */
export interface Subscribed {
  type: "subscribed";
  /** `orders`, `analytics`, `order:<key>`, `<stream>`, `<stream>:<key>`. */
  topics: string[];
}

/** A token was accepted. */
export interface Authenticated {
  type: "authenticated";
  role: "admin" | "viewer" | "customer";
  /** When the session ends unless a fresh token is sent; null if the server needs no token. */
  expires: string | null;
}

/** The command was not carried out, and nothing else happened. */
export interface ErrorMessage {
  type: "error";
  /** For programs: `bad_json`, `bad_frame`, `unknown_type`, `bad_topic`, `not_permitted`, `too_many_topics`, `not_authenticated`, or one of a later version. */
  code: string;
  /** For people. */
  message: string;
}

/** The heartbeat, from either side. The receiver answers with `pong`. */
export interface Ping {
  type: "ping";
}

/** The answer to `ping`. */
export interface Pong {
  type: "pong";
}

/** The first token, or a fresh one before the old one expires. */
export interface Auth {
  type: "auth";
  /** A JSON Web Token. */
  token: string;
}

/** Subscribe to these topics too: to all of them or, with an `error`, to none. */
export interface Subscribe {
  type: "subscribe";
  /** `orders`, `analytics`, `order:<key>`, `<stream>`, `<stream>:<key>`. */
  topics: string[];
}

/** Unsubscribe from these topics. */
export interface Unsubscribe {
  type: "unsubscribe";
  /** `orders`, `analytics`, `order:<key>`, `<stream>`, `<stream>:<key>`. */
  topics: string[];
}

export type OrderEvent = NewOrder | OrderStatusUpdate | OrderUpdate | OrderDelete;

/** A change of a row of a further attached table. */
export type StreamEvent = RowInsert | RowUpdate | RowDelete;

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

export type ClientMessage = Ping | Pong | Auth | Subscribe | Unsubscribe;
