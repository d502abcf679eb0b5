import { isNewer, type OrderEvent } from "@orderwire/client";
import type { OrderRow } from "../api.ts";
import { normalizedStatus } from "../status.ts";
import { LastEventIds } from "./last-event-ids.ts";
import { changedOrder, newOrder, toOrder, type Order } from "./order-list.ts";

/** A fetched column. */
export interface ColumnRows {
  status: string;
  /** Newest first. */
  rows: readonly OrderRow[];
  /** Whether these are all orders with the status. */
  isComplete: boolean;
}

export interface BoardColumn {
  /** Newest first, at most MAX_CARDS. */
  readonly cards: readonly Order[];
  /** The number of orders with the status that are loaded. */
  readonly count: number;
  /** Whether these are all. */
  readonly isComplete: boolean;
}

/** What an event did to the board. "incomplete": it added an order of which only the event is known. */
export type BoardChange = "none" | "changed" | "new" | "incomplete";

export const MAX_CARDS = 200;
/** Orders that a column keeps, so that those that leave it can be replaced. */
const MAX_KEPT = 2_000;
const KEPT_AFTER_EVICTION = 1_000;

interface Column {
  readonly orders: Map<string, Order>;
  isComplete: boolean;
  /** Undefined: to be sorted anew. */
  snapshot: BoardColumn | undefined;
}

const EMPTY: BoardColumn = { cards: [], count: 0, isComplete: true };

/** The orders of some statuses, by status, kept up to date by events. Each event is applied once, by the number of its id. */
export class Board {
  #columns = new Map<string, Column>();
  #byKey = new Map<string, Order>();
  /** Also of orders that are not on the board, so that a replayed event does not put them there. */
  readonly #lastEventIds = new LastEventIds();
  #bufferedEvents: OrderEvent[] | null = null;
  /** Orders that were created since a fetch was started, in none of the columns that the board had. */
  readonly #createdMeanwhile = new Set<string>();
  /** Orders that a fetch has counted as new, the newest first. */
  #countedByFetch = new Set<string>();
  /** When the newest order was created of which the user knows: an order that a later fetch brings is new if it is younger. While a
   * fetch is due, events do not raise it: others before them may have been missed. */
  #newestMs = -Infinity;

  has(status: string): boolean {
    return this.#columns.has(status);
  }

  get(key: string): Order | undefined {
    return this.#byKey.get(key);
  }

  /** The same object until the column changes. */
  column(status: string): BoardColumn {
    const column = this.#columns.get(status);
    if (column === undefined) return EMPTY;
    return (column.snapshot ??= snapshotOf(column));
  }

  /** `known`: the order before the event, if the page has it elsewhere. */
  apply(event: OrderEvent, known?: Order): BoardChange {
    if (this.#bufferedEvents !== null) this.#bufferedEvents.push(event);
    else this.#raiseNewest(event);
    const change = this.#apply(event, known);
    if (this.#bufferedEvents !== null && event.type === "new_order" && change !== "new" && this.#createdMeanwhile.size < MAX_KEPT) {
      this.#createdMeanwhile.add(event.key);
    }
    return change;
  }

  /**
   * To be called before the columns are fetched; the returned function takes them in place of all that the board has. It returns the
   * number of orders that are new and of which `apply` has not said so: those created during the first fetch, and those whose events
   * were missed. It returns null, and changes nothing, if a later fetch was started.
   */
  startFetch(): (columns: readonly ColumnRows[]) => number | null {
    const bufferedEvents: OrderEvent[] = [];
    this.#bufferedEvents = bufferedEvents;
    return (columns) => {
      if (this.#bufferedEvents !== bufferedEvents) return null;
      this.#bufferedEvents = null;
      const before = this.#byKey;
      const columnsBefore = this.#columns;
      this.#columns = new Map();
      this.#byKey = new Map();
      this.#lastEventIds.clear();
      for (const { status, rows, isComplete } of columns) {
        this.#columns.set(status, { orders: new Map(), isComplete, snapshot: undefined });
        for (const row of rows) this.#put(toOrder(row, 0));
      }
      const isNew = new Set([...this.#createdMeanwhile, ...this.#newOrdersIn(columnsBefore)]);
      this.#createdMeanwhile.clear();
      for (const event of bufferedEvents) this.#apply(event, before.get(event.key));
      for (const event of bufferedEvents) this.#raiseNewest(event);
      for (const { createdMs } of this.#byKey.values()) if (createdMs > this.#newestMs) this.#newestMs = createdMs;
      const counted = [...isNew].filter((key) => this.#byKey.has(key) && !before.has(key));
      this.#countedByFetch = new Set([...counted, ...this.#countedByFetch].slice(0, MAX_KEPT));
      return counted.length;
    };
  }

  /** The orders in one of `columns` that were created after all of which the user knows. */
  #newOrdersIn(columns: ReadonlyMap<string, Column>): string[] {
    return [...this.#byKey.values()].filter(({ status, createdMs }) => columns.has(status) && createdMs > this.#newestMs).map(({ key }) => key);
  }

  #raiseNewest(event: OrderEvent): void {
    if (event.type !== "new_order") return;
    const createdMs = Date.parse(event.created_at ?? event.at);
    if (createdMs > this.#newestMs) this.#newestMs = createdMs;
  }

  /** The whole of an order that an event has added, unless a later event has changed it meanwhile. */
  complete(row: OrderRow, eventId: string): void {
    if (this.#byKey.get(row.key)?.lastEventId === eventId) this.#put({ ...toOrder(row, 0), lastEventId: eventId });
  }

  #apply(event: OrderEvent, known: Order | undefined): BoardChange {
    const { key } = event;
    const before = this.#byKey.get(key);
    if (!isNewer(event.id, before?.lastEventId ?? this.#lastEventIds.get(key))) return "none";
    this.#lastEventIds.set(key, event.id);
    if (event.type === "order_delete") {
      this.#countedByFetch.delete(key);
      if (before !== undefined) this.#remove(before);
      return "changed";
    }
    const status = "status" in event ? normalizedStatus(event.status ?? null) : (before ?? known)?.status;
    if (before === undefined && (status === undefined || !this.has(status))) return "changed";
    // An update of an order that was not loaded changes nothing that is shown.
    if (before === undefined && event.type === "order_update") return "none";
    const base = before ?? known ?? newOrder(event, 0);
    this.#put(changedOrder(base, event));
    // A fetch may bring an order before its event comes.
    const isKnownByEvents = before?.lastEventId !== undefined || this.#countedByFetch.has(key);
    if (event.type === "new_order" && !isKnownByEvents) return "new";
    if (before !== undefined) return "changed";
    return known === undefined ? "incomplete" : "changed";
  }

  #put(order: Order): void {
    const before = this.#byKey.get(order.key);
    if (before !== undefined && before.status !== order.status) this.#remove(before);
    const column = this.#columns.get(order.status);
    if (column === undefined) return;
    this.#byKey.set(order.key, order);
    column.orders.set(order.key, order);
    column.snapshot = undefined;
    if (column.orders.size > MAX_KEPT) this.#evict(column);
  }

  #remove(order: Order): void {
    this.#byKey.delete(order.key);
    const column = this.#columns.get(order.status) as Column;
    column.orders.delete(order.key);
    column.snapshot = undefined;
  }

  #evict(column: Column): void {
    const kept = [...column.orders.values()].sort(newestFirst).slice(0, KEPT_AFTER_EVICTION);
    for (const key of column.orders.keys()) this.#byKey.delete(key);
    column.orders.clear();
    for (const order of kept) {
      column.orders.set(order.key, order);
      this.#byKey.set(order.key, order);
    }
    column.isComplete = false;
  }
}

function snapshotOf({ orders, isComplete }: Column): BoardColumn {
  const cards = [...orders.values()].sort(newestFirst).slice(0, MAX_CARDS);
  return { cards, count: orders.size, isComplete };
}

/** By the time of creation, then by the key; orders without a time are the oldest. */
export function newestFirst(a: Order, b: Order): number {
  const [left, right] = [Number.isNaN(a.createdMs) ? -Infinity : a.createdMs, Number.isNaN(b.createdMs) ? -Infinity : b.createdMs];
  if (left !== right) return left < right ? 1 : -1;
  return a.key < b.key ? 1 : -1;
}

/** A column with the changes of the user that have no event yet. */
export function withChanges(status: string, column: BoardColumn, moved: readonly Order[]): BoardColumn {
  if (moved.length === 0) return column;
  const keys = new Set(moved.map(({ key }) => key));
  const staying = column.cards.filter(({ key }) => !keys.has(key));
  const added = moved.filter((order) => order.status === status);
  const left = column.cards.length - staying.length;
  if (left === 0 && added.length === 0) return column;
  return { ...column, cards: [...staying, ...added].sort(newestFirst), count: column.count - left + added.length };
}
