import { isNewer, type OrderEvent } from "@orderwire/client";
import type { OrderRow } from "../api.ts";
import { normalizedStatus } from "../status.ts";
import { LastEventIds } from "./last-event-ids.ts";

/** Immutable: a change makes a new object, so that React can skip the rows of unchanged orders. */
export interface Order {
  readonly key: string;
  /** The order's place in the list: higher is newer. It changes when the list is fetched anew. */
  readonly rank: number;
  /** The key if the table has no numbers. */
  readonly number: string;
  readonly customer: string | null;
  /** A decimal string. */
  readonly total: string | null;
  readonly currency: string | null;
  /** "" for none. */
  readonly status: string;
  /** RFC 3339. */
  readonly createdAt: string | null;
  /** The same in milliseconds since the Unix epoch; NaN for none, and for a date that JavaScript does not know. */
  readonly createdMs: number;
  readonly data: Readonly<Record<string, unknown>> | null;
  /** The fields that an event had cut, or left out, under the names of the protocol. */
  readonly truncated: readonly string[];
  /** The last event that it has; undefined: none since it was fetched. */
  readonly lastEventId: string | undefined;
}

/** Where the orders follow that are older than those of the list: after this cursor, and created before this time (RFC 3339). */
export interface OlderPage {
  readonly after?: string;
  readonly to?: string;
}

export type Change = "added" | "changed" | "removed" | "none";

/** New orders push out the oldest beyond so many, or beyond as many as the user has loaded by scrolling. */
const LIVE_ORDERS = 5_000;
/** Removed together, so that few inserts have to shift the whole array. */
const EVICTION_SIZE = 500;
/** The user can load so many by scrolling. */
const MAX_ORDERS = 20_000;
const PAGE_SIZE = 1_000;

/**
 * The newest orders, in the order of the server's list, with new ones on top, kept up to date by events.
 *
 * Rows are fetched over HTTP, while events arrive over the WebSocket. Events that arrive during a fetch are applied at once, and buffered
 * to be applied to the fetched rows too. So no change around the fetch is lost. Within an order the sequence number of the event id
 * prevents an older event from overwriting a newer one.
 */
export class OrderList {
  /** By ascending rank. */
  #orders: Order[] = [];
  #byKey = new Map<string, Order>();
  /** The last events of deleted orders, so that a replayed event does not restore them. */
  readonly #deleted = new LastEventIds();
  #capacity = LIVE_ORDERS;
  /** Null while no fetch is in progress. */
  #bufferedEvents: OrderEvent[] | null = null;
  /** The page of older orders; null after the last one, undefined if it is not known. */
  #next: OlderPage | null | undefined;
  /** Before this time the orders were made that have been evicted. In milliseconds since the Unix epoch. */
  #evictedBefore = -Infinity;

  get size(): number {
    return this.#orders.length;
  }

  /** Whether the list goes back to the first order of all. */
  get isComplete(): boolean {
    return this.#next === null;
  }

  get oldest(): Order | undefined {
    return this.#orders[0];
  }

  /** The next page of older orders. Undefined if there is none, or no space for it. */
  get next(): OlderPage | undefined {
    return this.#orders.length > MAX_ORDERS - PAGE_SIZE ? undefined : (this.#next ?? undefined);
  }

  get(key: string): Order | undefined {
    return this.#byKey.get(key);
  }

  /** The orders that match, newest first. */
  filter(predicate?: (order: Order) => boolean): Order[] {
    const matches: Order[] = [];
    for (let i = this.#orders.length - 1; i >= 0; i--) {
      const order = this.#orders[i] as Order;
      if (predicate === undefined || predicate(order)) matches.push(order);
    }
    return matches;
  }

  /** All orders, oldest first. The array changes with the next event; callers must not store it. */
  all(): readonly Order[] {
    return this.#orders;
  }

  apply(event: OrderEvent): Change {
    this.#bufferedEvents?.push(event);
    return this.#apply(event);
  }

  /**
   * To be called before a request for rows; the returned function takes its response: rows, newest first, and the next page (null: there
   * is none, undefined: it is not known). With `replace` the rows replace all orders, otherwise they are added as older ones. The function
   * returns false, and changes nothing, if a later fetch was started, or if the rows do not follow on the list any more.
   */
  startFetch(replace: boolean): (rows: readonly OrderRow[], next: OlderPage | null | undefined) => boolean {
    const bufferedEvents: OrderEvent[] = [];
    this.#bufferedEvents = bufferedEvents;
    const evictedBefore = this.#evictedBefore;
    return (rows, next) => {
      if (this.#bufferedEvents !== bufferedEvents) return false;
      this.#bufferedEvents = null;
      if (!replace && this.#evictedBefore !== evictedBefore) return false;
      if (replace) {
        this.#orders = [];
        this.#byKey.clear();
        this.#deleted.clear();
        this.#evictedBefore = -Infinity;
      }
      const newestRank = (this.oldest?.rank ?? 0) - 1;
      // Orders of the list are as new as the row or newer. Others may have moved to this page.
      const added = rows
        .filter((row) => this.#deleted.get(row.key) === undefined && !this.#byKey.has(row.key))
        .map((row, index) => toOrder(row, newestRank - index));
      for (const order of added) this.#byKey.set(order.key, order);
      this.#orders = [...added.reverse(), ...this.#orders];
      this.#next = next;
      this.#capacity = Math.max(LIVE_ORDERS, this.#orders.length);
      for (const event of bufferedEvents) this.#apply(event);
      return true;
    };
  }

  #apply(event: OrderEvent): Change {
    const { key } = event;
    const before = this.#byKey.get(key);
    if (!isNewer(event.id, before?.lastEventId ?? this.#deleted.get(key))) return "none";
    // The order is older than the list. If its row is fetched later, the row contains this change.
    if (before === undefined && event.type !== "new_order" && event.type !== "order_delete") return "none";
    if (event.type === "order_delete") {
      this.#deleted.set(key, event.id);
      if (before === undefined) return "none";
      this.#orders.splice(this.#indexOf(before), 1);
      this.#byKey.delete(key);
      return "removed";
    }
    const after = before === undefined ? newOrder(event, (this.#orders.at(-1)?.rank ?? 0) + 1) : changedOrder(before, event);
    this.#byKey.set(key, after);
    if (before !== undefined) {
      this.#orders[this.#indexOf(before)] = after;
      return "changed";
    }
    this.#orders.push(after);
    this.#evictOldest();
    return "added";
  }

  #indexOf(order: Order): number {
    let low = 0;
    let high = this.#orders.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#orders[middle] as Order).rank < order.rank) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The cursor of the next page does not follow on what is left: the next one begins at the time of what has been evicted. */
  #evictOldest(): void {
    if (this.#orders.length <= this.#capacity + EVICTION_SIZE) return;
    for (const { key, createdMs } of this.#orders.splice(0, EVICTION_SIZE)) {
      this.#byKey.delete(key);
      this.#evictedBefore = Math.max(this.#evictedBefore, createdMs + 1); // NaN, without a time, stays
    }
    this.#next = isTime(this.#evictedBefore) ? { to: new Date(this.#evictedBefore).toISOString() } : undefined;
  }
}

/** Whether the server takes it: not before the year 1, and not after 9999. */
function isTime(ms: number): boolean {
  return ms > Date.parse("0001-01-02") && ms < Date.parse("9999-12-31");
}

export function toOrder(row: OrderRow, rank: number): Order {
  return {
    key: row.key,
    rank,
    number: row.order_number ?? row.key,
    customer: row.customer_name,
    total: row.total,
    currency: row.currency ?? null,
    status: normalizedStatus(row.status),
    createdAt: row.created_at,
    createdMs: Date.parse(row.created_at ?? ""),
    data: row.data ?? null,
    truncated: NONE_TRUNCATED,
    lastEventId: undefined,
  };
}

/** The order of which nothing but an event is known. */
export function newOrder({ key, at, created_at = at, ...fields }: OrderEvent, rank: number): Order {
  const empty = { id: key, key, order_number: null, customer_name: null, total: null, status: null, created_at };
  return changedOrder(toOrder(empty, rank), { ...fields, key, at } as Exclude<OrderEvent, { type: "order_delete" }>);
}

/** The order with the fields that the event has. */
export function changedOrder(order: Order, event: Exclude<OrderEvent, { type: "order_delete" }>): Order {
  const createdAt = event.created_at === undefined ? order.createdAt : event.created_at;
  const { order_number = order.number, customer_name = order.customer, total = order.total } = event;
  const cut = truncatedFields(order, event);
  return {
    ...order,
    number: order_number ?? order.key,
    customer: customer_name,
    total,
    currency: event.currency === undefined ? order.currency : event.currency,
    status: event.status === undefined ? order.status : normalizedStatus(event.status),
    createdAt,
    createdMs: createdAt === order.createdAt ? order.createdMs : Date.parse(createdAt ?? ""),
    data: event.data ?? order.data,
    truncated: cut,
    lastEventId: event.id,
  };
}

const NONE_TRUNCATED: readonly string[] = [];
const FIELDS = ["order_number", "customer_name", "status", "data"];

function truncatedFields(order: Order, event: OrderEvent): readonly string[] {
  if (event.truncated === undefined && order.truncated.length === 0) return NONE_TRUNCATED;
  return FIELDS.filter((name) => event.truncated?.includes(name) || (order.truncated.includes(name) && !(name in event)));
}
