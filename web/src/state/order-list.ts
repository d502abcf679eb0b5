import type { OrderEvent } from "@orderwire/client";
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
}

export type Change = "added" | "changed" | "removed" | "none";

const MAX_ORDERS = 20_000;
/** Removed together when there are more than MAX_ORDERS, so that few inserts have to shift the whole array. */
const EVICTION_SIZE = 1_000;

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
  /** Key of an order to the id of its last event. Also for deleted orders, so that a replayed event does not restore them. */
  readonly #lastEventIds = new LastEventIds();
  /** Null while no fetch is in progress. */
  #bufferedEvents: OrderEvent[] | null = null;
  /** Cursor of the page of older orders; null after the last page, undefined if it is not known. */
  #next: string | null | undefined;

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

  /** Cursor of the next page of older orders. Undefined if there is none, or no space for it. */
  get next(): string | undefined {
    return this.#orders.length >= MAX_ORDERS - EVICTION_SIZE ? undefined : (this.#next ?? undefined);
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
   * To be called before a request for rows; the returned function takes its response: rows, newest first, and the cursor of the next
   * page. With `replace` the rows replace all orders, otherwise they are added as older ones. The function returns false, and changes
   * nothing, if a later fetch was started.
   */
  startFetch(replace: boolean): (rows: readonly OrderRow[], next: string | null) => boolean {
    const bufferedEvents: OrderEvent[] = [];
    this.#bufferedEvents = bufferedEvents;
    return (rows, next) => {
      if (this.#bufferedEvents !== bufferedEvents) return false;
      this.#bufferedEvents = null;
      if (replace) {
        this.#orders = [];
        this.#byKey.clear();
        this.#lastEventIds.clear();
      }
      const newestRank = (this.oldest?.rank ?? 0) - 1;
      // Orders with an event are in the list already, as new as the row or newer, or they were deleted. Others may have moved to this page.
      const added = rows
        .filter((row) => this.#lastEventIds.get(row.key) === undefined && !this.#byKey.has(row.key))
        .map((row, index) => toOrder(row, newestRank - index));
      for (const order of added) this.#byKey.set(order.key, order);
      this.#orders = [...added.reverse(), ...this.#orders];
      this.#next = next;
      for (const event of bufferedEvents) this.#apply(event);
      return true;
    };
  }

  #apply(event: OrderEvent): Change {
    const { key } = event;
    if (!this.#lastEventIds.isNewer(key, event.id)) return "none";
    const before = this.#byKey.get(key);
    // The order is older than the list. If its row is fetched later, the row contains this change.
    if (before === undefined && event.type !== "new_order" && event.type !== "order_delete") return "none";
    this.#lastEventIds.set(key, event.id);
    if (event.type === "order_delete") {
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

  #evictOldest(): void {
    if (this.#orders.length <= MAX_ORDERS) return;
    for (const { key } of this.#orders.splice(0, EVICTION_SIZE)) this.#byKey.delete(key);
    this.#next = undefined; // the next page does not follow on what is left
  }
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
    truncated: [],
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
  const fields = ["order_number", "customer_name", "status", "data"];
  const cut = fields.filter((name) => event.truncated?.includes(name) || (order.truncated.includes(name) && !(name in event)));
  return {
    ...order,
    number: order_number,
    customer: customer_name,
    total,
    currency: event.currency === undefined ? order.currency : event.currency,
    status: event.status === undefined ? order.status : normalizedStatus(event.status),
    createdAt,
    createdMs: createdAt === order.createdAt ? order.createdMs : Date.parse(createdAt ?? ""),
    data: event.data ?? order.data,
    truncated: cut,
  };
}
