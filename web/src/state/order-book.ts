import type { OrderEvent, OrderStatus } from "@orderwire/client";
import { isNewer } from "@orderwire/client";

/** An order as the page shows it. Never changed in place: a row whose order is the same object need not be drawn again. */
export interface Order {
  readonly id: number;
  readonly number: string;
  readonly customer: string;
  readonly total: string;
  readonly status: OrderStatus;
  /** Milliseconds, as of Date.now(). */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** A row of `/api/orders`. */
export interface OrderRow {
  id: number;
  order_number: string;
  customer_name: string;
  total: string;
  status: OrderStatus;
  created_at: string;
  updated_at: string;
}

export type Effect = "added" | "changed" | "removed" | "none";

const MOST_ORDERS = 20_000;
/** Dropped at once when there are too many, so that an insert is rarely followed by a move of the whole list. */
const SPARE_ORDERS = 1_000;

/**
 * The newest orders, kept up to date by events.
 *
 * Rows and events come over different connections. While rows are being fetched, every event is kept as well as applied;
 * when the rows are there, the kept events are applied to them. So nothing that happened around the fetch is missed, and
 * within each order the number in the event's id keeps an older event from undoing a newer one.
 */
export class OrderBook {
  /** By ascending id. */
  #orders: Order[] = [];
  /** The id of the last event of each order; outlives the order, so that a late event does not bring it back. */
  #lastEvent = new Map<number, string>();
  #kept: OrderEvent[] | null = null;
  #reachesBack = false;

  get size(): number {
    return this.#orders.length;
  }

  /** Whether no order is older than the oldest one here. */
  get reachesBack(): boolean {
    return this.#reachesBack;
  }

  get oldest(): Order | undefined {
    return this.#orders[0];
  }

  get isFull(): boolean {
    return this.#orders.length >= MOST_ORDERS - SPARE_ORDERS;
  }

  get(id: number): Order | undefined {
    const order = this.#orders[this.#indexOf(id)];
    return order?.id === id ? order : undefined;
  }

  /** The orders that satisfy the condition, newest first. */
  select(condition?: (order: Order) => boolean): Order[] {
    const found: Order[] = [];
    for (let i = this.#orders.length - 1; i >= 0; i--) {
      const order = this.#orders[i] as Order;
      if (condition === undefined || condition(order)) found.push(order);
    }
    return found;
  }

  /** Every order, oldest first; not to be kept. */
  all(): readonly Order[] {
    return this.#orders;
  }

  apply(event: OrderEvent): Effect {
    this.#kept?.push(event);
    return this.#apply(event);
  }

  /**
   * Call before fetching rows, and what it returns with the rows. `anew`: they replace all that is here; else they are
   * older ones that are added. Returns false when a later fetch has made this one pointless.
   */
  startFetch(anew: boolean): (rows: readonly OrderRow[], reachesBack: boolean) => boolean {
    const kept: OrderEvent[] = [];
    this.#kept = kept;
    return (rows, reachesBack) => {
      if (this.#kept !== kept) return false;
      this.#kept = null;
      if (anew) {
        this.#orders = [];
        this.#lastEvent.clear();
      }
      // An order with an event is known better than the row, or deleted.
      const fresh = rows.filter((row) => !this.#lastEvent.has(row.id)).map(fromRow);
      this.#orders = [...fresh, ...this.#orders].sort((a, b) => a.id - b.id);
      this.#reachesBack = reachesBack;
      for (const event of kept) this.#apply(event);
      return true;
    };
  }

  #apply(event: OrderEvent): Effect {
    const id = event.order_id;
    if (!isNewer(event.id, this.#lastEvent.get(id))) return "none";
    const index = this.#indexOf(id);
    const before = this.#orders[index]?.id === id ? this.#orders[index] : undefined;
    // An order that is older than what is here; when it is fetched, it comes with this change in it.
    if (before === undefined && event.type !== "new_order" && event.type !== "order_delete") return "none";
    this.#remember(id, event.id);
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
      this.#dropOldest();
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

  /** Where the order is, or where it would be. */
  #indexOf(id: number): number {
    let low = 0;
    let high = this.#orders.length;
    if (high === 0 || (this.#orders[high - 1] as Order).id < id) return high; // nearly always: a new order
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#orders[middle] as Order).id < id) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #dropOldest(): void {
    if (this.#orders.length <= MOST_ORDERS) return;
    this.#orders.splice(0, SPARE_ORDERS);
    this.#reachesBack = false;
  }

  #remember(id: number, eventId: string): void {
    this.#lastEvent.delete(id); // so that the map is in the order of last use
    this.#lastEvent.set(id, eventId);
    if (this.#lastEvent.size <= 2 * MOST_ORDERS) return;
    for (const old of this.#lastEvent.keys()) {
      this.#lastEvent.delete(old);
      break;
    }
  }
}

function fromRow(row: OrderRow): Order {
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
