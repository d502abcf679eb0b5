import type { OrderEvent } from "@orderwire/client";
import { DecimalSum } from "../money.ts";
import { normalizedStatus } from "../status.ts";

/** An order as the story has it so far. */
export interface StoryOrder {
  readonly key: string;
  /** The key if the table has no numbers. */
  readonly number: string;
  /** "" for none. */
  readonly status: string;
  readonly total: string | null;
  readonly currency: string | null;
}

export interface StoryColumn {
  readonly status: string;
  readonly orders: number;
  /** By currency, "" for none; decimal strings. */
  readonly revenue: readonly [currency: string, amount: string][];
  /** The ones that came last, newest first. */
  readonly newest: readonly StoryOrder[];
}

const MAX_CARDS = 8;

/**
 * The events of the journal from some moment on, in their order, and the orders at a point among them. Orders that existed before that
 * moment are part of it from their first event on.
 */
export class Story {
  readonly events: OrderEvent[] = [];
  /** The number of events that have been played. */
  #position = 0;
  /** By the order of the last change of status: the newest one last. */
  #orders = new Map<string, StoryOrder>();

  append(events: readonly OrderEvent[]): void {
    this.events.push(...events);
  }

  /** When the first and the last event happened, in milliseconds; undefined for no events. */
  get range(): { from: number; to: number } | undefined {
    const [first, last] = [this.events[0], this.events.at(-1)];
    return first && last && { from: Date.parse(first.at), to: Date.parse(last.at) };
  }

  /** Whether every loaded event has been played. */
  get isAtEnd(): boolean {
    return this.#position === this.events.length;
  }

  get unplayed(): number {
    return this.events.length - this.#position;
  }

  /** The events played last, newest first. */
  latest(count: number): OrderEvent[] {
    return this.events.slice(Math.max(0, this.#position - count), this.#position).reverse();
  }

  /** Plays, or goes back, to a time in milliseconds. */
  seek(time: number): void {
    const previous = this.events[this.#position - 1];
    if (previous !== undefined && Date.parse(previous.at) > time) {
      this.#position = 0;
      this.#orders = new Map();
    }
    // The journal is in the order of the commits: an event may be slightly older than the one before it.
    for (let next = this.events[this.#position]; next !== undefined && Date.parse(next.at) <= time; next = this.events[this.#position]) {
      this.#play(next);
      this.#position++;
    }
  }

  #play(event: OrderEvent): void {
    const known = this.#orders.get(event.key);
    if (event.type === "order_delete") {
      this.#orders.delete(event.key);
      return;
    }
    const status = "status" in event ? normalizedStatus(event.status ?? null) : (known?.status ?? "");
    const order: StoryOrder = {
      key: event.key,
      number: event.order_number ?? known?.number ?? event.key,
      status,
      total: event.total === undefined ? (known?.total ?? null) : event.total,
      currency: event.currency ?? known?.currency ?? null,
    };
    if (known?.status !== status) this.#orders.delete(event.key); // moves to the end
    this.#orders.set(event.key, order);
  }

  /** One column for each of these statuses, and for others that orders have. */
  columns(statuses: readonly string[]): StoryColumn[] {
    const byStatus = new Map<string, StoryOrder[]>(statuses.map((status) => [status, []]));
    for (const order of this.#orders.values()) {
      const column = byStatus.get(order.status);
      if (column === undefined) byStatus.set(order.status, [order]);
      else column.push(order);
    }
    return [...byStatus].map(([status, orders]) => ({
      status,
      orders: orders.length,
      revenue: revenueOf(orders),
      newest: orders.slice(-MAX_CARDS).reverse(),
    }));
  }
}

function revenueOf(orders: readonly StoryOrder[]): [string, string][] {
  const sums = new Map<string, DecimalSum>();
  for (const { currency, total } of orders) {
    if (total === null) continue;
    const sum = sums.get(currency ?? "") ?? new DecimalSum();
    sums.set(currency ?? "", sum);
    sum.add(total);
  }
  return [...sums].map(([currency, sum]) => [currency, String(sum)]);
}
