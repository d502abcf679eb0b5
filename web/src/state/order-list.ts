import { isNewer, type OrderEvent, type OrderStatus } from "@orderwire/client";
import type { OrderRow } from "../api.ts";

/** Immutable: a change makes a new object, so that React can skip the rows of unchanged orders. */
export interface Order {
  readonly id: number;
  readonly number: string;
  readonly customer: string;
  readonly total: string;
  readonly status: OrderStatus;
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

export type Change = "added" | "changed" | "removed" | "none";

const MAX_ORDERS = 20_000;
/** Removed together when there are more than MAX_ORDERS, so that few inserts have to shift the whole array. */
const EVICTION_SIZE = 1_000;

/**
 * The newest orders, kept up to date by events.
 *
 * Rows are fetched over HTTP, while events arrive over the WebSocket. Events that arrive during a fetch are applied at once, and buffered
 * to be applied to the fetched rows too. So no change around the fetch is lost. Within an order the sequence number of the event id
 * prevents an older event from overwriting a newer one.
 */
export class OrderList {
  /** By ascending id. */
  #orders: Order[] = [];
  /** Order id to the id of its last event. Also for deleted orders, so that a replayed event does not restore them. */
  #lastEventIds = new Map<number, string>();
  /** Null while no fetch is in progress. */
  #bufferedEvents: OrderEvent[] | null = null;
  #isComplete = false;

  get size(): number {
    return this.#orders.length;
  }

  /** Whether the list goes back to the first order of all. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  get oldest(): Order | undefined {
    return this.#orders[0];
  }

  /** Whether there is no space for a further page of older orders. */
  get isFull(): boolean {
    return this.#orders.length >= MAX_ORDERS - EVICTION_SIZE;
  }

  get(id: number): Order | undefined {
    const order = this.#orders[this.#indexOf(id)];
    return order?.id === id ? order : undefined;
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
   * To be called before a request for rows; the returned function takes its response. With `replace` the rows replace all orders,
   * otherwise they are added as older ones. The function returns false, and changes nothing, if a later fetch was started.
   */
  startFetch(replace: boolean): (rows: readonly OrderRow[], isComplete: boolean) => boolean {
    const bufferedEvents: OrderEvent[] = [];
    this.#bufferedEvents = bufferedEvents;
    return (rows, isComplete) => {
      if (this.#bufferedEvents !== bufferedEvents) return false;
      this.#bufferedEvents = null;
      if (replace) {
        this.#orders = [];
        this.#lastEventIds.clear();
      }
      // Orders with an event are in the list already, as new as the row or newer, or they were deleted.
      const added = rows.filter((row) => !this.#lastEventIds.has(row.id)).map(toOrder);
      this.#orders = [...added, ...this.#orders].sort((a, b) => a.id - b.id);
      this.#isComplete = isComplete;
      for (const event of bufferedEvents) this.#apply(event);
      return true;
    };
  }

  #apply(event: OrderEvent): Change {
    const id = event.order_id;
    if (!isNewer(event.id, this.#lastEventIds.get(id))) return "none";
    const index = this.#indexOf(id);
    const before = this.#orders[index]?.id === id ? this.#orders[index] : undefined;
    // The order is older than the list. If its row is fetched later, the row contains this change.
    if (before === undefined && event.type !== "new_order" && event.type !== "order_delete") return "none";
    this.#setLastEventId(id, event.id);
    if (event.type === "order_delete") {
      if (before === undefined) return "none";
      this.#orders.splice(index, 1);
      return "removed";
    }
    const at = Date.parse(event.at);
    if (event.type === "new_order") {
      const order: Order = {
        id,
        number: event.order_number,
        customer: event.customer_name,
        total: event.total,
        status: event.status,
        createdAt: at,
        updatedAt: at,
      };
      this.#orders.splice(index, before === undefined ? 0 : 1, order);
      this.#evictOldest();
      return before === undefined ? "added" : "changed";
    }
    const order = before as Order;
    this.#orders[index] = {
      ...order,
      number: event.order_number,
      customer: event.customer_name ?? order.customer,
      total: event.total ?? order.total,
      status: event.type === "order_status_update" ? event.status : order.status,
      updatedAt: at,
    };
    return "changed";
  }

  /** Binary search: the index of the order, or the one to insert it at. */
  #indexOf(id: number): number {
    let low = 0;
    let high = this.#orders.length;
    if (high === 0 || (this.#orders[high - 1] as Order).id < id) return high; // a new order: by far the most frequent case
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#orders[middle] as Order).id < id) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #evictOldest(): void {
    if (this.#orders.length <= MAX_ORDERS) return;
    this.#orders.splice(0, EVICTION_SIZE);
    this.#isComplete = false;
  }

  /** Keeps the map bounded: removes the entry that was set longest ago. */
  #setLastEventId(id: number, eventId: string): void {
    this.#lastEventIds.delete(id); // moves the entry to the end
    this.#lastEventIds.set(id, eventId);
    if (this.#lastEventIds.size <= 2 * MAX_ORDERS) return;
    for (const oldest of this.#lastEventIds.keys()) {
      this.#lastEventIds.delete(oldest);
      break;
    }
  }
}

function toOrder(row: OrderRow): Order {
  return {
    id: row.id,
    number: row.order_number,
    customer: row.customer_name,
    total: row.total,
    status: row.status,
    createdAt: Date.parse(row.created_at),
    updatedAt: Date.parse(row.updated_at),
  };
}
