import { isNewer, type OrderEvent } from "@orderwire/client";
import type { Api, OrderPage, OrderRow } from "../api.ts";
import { normalizedStatus } from "../status.ts";
import { EMPTY_FILTER, exactFirst, filterPredicate, isExactQuery, isFiltered, ordersQuery, type OrderFilter, type OrderPredicate } from "./order-filter.ts";
import { changedOrder, newOrder, toOrder, type Order, type OrderList } from "./order-list.ts";

/** What is known of the orders that match. */
export interface SearchStatus {
  state: "idle" | "searching" | "ready" | "failed";
  /** All orders that match are among those returned. */
  complete: boolean;
  /** There is a page to load. */
  more: boolean;
  /** The search stopped at its time limit; it has looked at the orders made since this time. RFC 3339. */
  searchedTo: string | null;
}

interface Found {
  order: Order;
  lastEventId: string | undefined;
  /** The server has said that it matches, and it has not changed since. */
  byServer: boolean;
}

const MAX_FOUND = 20_000;
/** While the user types. */
const DEBOUNCE_MS = 150;
const RETRY_DELAY_MS = 3_000;
/** After an event by which an order that is not loaded may have begun to match. */
const REFRESH_INTERVAL_MS = 2_000;
/** Below the rank of any order in the list. */
const FIRST_RANK = -1e9;

/**
 * The orders that match a filter: those that are loaded, and, where these are not the whole table, what the server finds. Both are kept up
 * to date by events.
 */
export class OrderSearch {
  readonly #api: Pick<Api, "search">;
  readonly #orders: OrderList;
  readonly #onChange: () => void;
  #filter: OrderFilter = EMPTY_FILTER;
  #timeZone: string | undefined;
  #found = new Map<string, Found>();
  /** The found orders, newest first; undefined after a change. */
  #sorted: Order[] | undefined;
  /** Events since the request that is on its way was sent; null if none is. */
  #buffered: OrderEvent[] | null = null;
  /** Ends the request that is on its way when another one, or none, takes its place. */
  #request = new AbortController();
  #state: SearchStatus["state"] = "idle";
  #next: string | null = null;
  #searchedTo: string | null = null;
  #nextRank = FIRST_RANK;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #refreshDue = false;
  #requestedAt = -Infinity;

  constructor(api: Pick<Api, "search">, orders: OrderList, onChange: () => void) {
    this.#api = api;
    this.#orders = orders;
    this.#onChange = onChange;
  }

  setTimeZone(timeZone: string | undefined): void {
    this.#timeZone = timeZone;
  }

  get timeZone(): string | undefined {
    return this.#timeZone;
  }

  /** The list needs no request while it has the whole table. */
  get #isNeeded(): boolean {
    return isFiltered(this.#filter) && !this.#orders.isComplete;
  }

  get status(): SearchStatus {
    if (!this.#isNeeded) return { state: "ready", complete: true, more: false, searchedTo: null };
    const complete = this.#state === "ready" && this.#next === null && this.#searchedTo === null;
    return { state: this.#state, complete, more: this.#next !== null, searchedTo: this.#searchedTo };
  }

  setFilter(filter: OrderFilter): void {
    if (filter === this.#filter) return;
    const typed = filter.text !== this.#filter.text;
    this.#filter = filter;
    this.#clear();
    if (this.#isNeeded) this.#searchAfter(typed ? DEBOUNCE_MS : 0);
    this.#onChange();
  }

  /** Searches anew: events may have been missed. */
  reload(): void {
    if (isFiltered(this.#filter)) this.#searchAfter(0);
  }

  /**
   * The loaded orders that match, then those that only the server has found; newest first. Those that the text names exactly come before
   * all others.
   */
  matches(filter: OrderFilter, now: number): readonly Order[] {
    return exactFirst(this.#newestFirst(filter, now), filter);
  }

  #newestFirst(filter: OrderFilter, now: number): Order[] {
    const predicate = filterPredicate(filter, now, this.#timeZone);
    if (predicate === undefined) return this.#orders.filter();
    if (filter !== this.#filter) return this.#orders.filter(predicate); // `setFilter` is about to be called
    const loaded = this.#orders.filter((order) => predicate(order) || this.#isByServer(order.key));
    if (this.#found.size === 0) return loaded;
    return [...loaded, ...this.#sortedFound().filter((order) => !this.#orders.get(order.key) && this.#matches(order, predicate))];
  }

  /** The filter of the list, also while another view is shown. */
  get filter(): OrderFilter {
    return this.#filter;
  }

  /** An order that the search has found. */
  get(key: string): Order | undefined {
    return this.#found.get(key)?.order;
  }

  /** Loads the next page, or searches further back. */
  async loadMore(): Promise<void> {
    if (this.#next === null || this.#buffered !== null || this.#found.size >= MAX_FOUND || !this.#isNeeded) return;
    await this.#fetch(this.#next);
  }

  apply(event: OrderEvent, now: number): void {
    if (!isFiltered(this.#filter)) return;
    this.#buffered?.push(event);
    const isKnown = this.#found.has(event.key) || this.#orders.get(event.key) !== undefined;
    if (isKnown) this.#applyToFound(event);
    else if (this.#mayBeginToMatch(event)) this.#refreshDue = true;
    if (this.#refreshDue) this.tick(now);
  }

  /** To be called about every half second. */
  tick(now: number): void {
    if (!this.#isNeeded || this.#buffered !== null) return;
    if (this.#refreshDue && now - this.#requestedAt >= REFRESH_INTERVAL_MS) this.#searchAfter(0);
    // The list was complete until now.
    if (this.#state === "idle" && this.#timer === undefined) this.#searchAfter(0);
  }

  #clear(): void {
    this.#request.abort();
    this.#buffered = null;
    this.#found = new Map();
    this.#sorted = undefined;
    this.#state = "idle";
    this.#next = this.#searchedTo = null;
    this.#refreshDue = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #searchAfter(delayMs: number): void {
    clearTimeout(this.#timer);
    if (this.#state === "idle") this.#state = "searching";
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#isNeeded) void this.#fetch(undefined);
    }, delayMs);
  }

  async #fetch(after: string | undefined): Promise<void> {
    this.#request.abort();
    const { signal } = (this.#request = new AbortController());
    const buffered: OrderEvent[] = [];
    this.#buffered = buffered;
    this.#refreshDue = false;
    this.#requestedAt = Date.now();
    if (after !== undefined) this.#state = "searching";
    try {
      const page = await this.#api.search(ordersQuery(this.#filter, Date.now(), this.#timeZone), after, signal);
      if (signal.aborted) return;
      this.#take(page, buffered, after === undefined);
      this.#state = "ready";
    } catch {
      if (signal.aborted) return;
      this.#state = "failed";
      if (after === undefined) this.#searchAfter(RETRY_DELAY_MS);
    }
    this.#buffered = null;
    this.#onChange();
  }

  #take(page: OrderPage, buffered: readonly OrderEvent[], isFirst: boolean): void {
    const before = this.#found;
    if (isFirst) this.#found = new Map();
    const byServer = isExactQuery(this.#filter);
    for (const row of page.orders) this.#found.set(row.key, { order: this.#toOrder(row, before), lastEventId: undefined, byServer });
    this.#sorted = undefined;
    this.#next = this.#found.size < MAX_FOUND ? page.next : null;
    this.#searchedTo = page.complete === false ? (page.searched_to ?? page.orders.at(-1)?.created_at ?? "") : null;
    // What happened since the request was sent may not be in the rows; applied twice it changes nothing.
    for (const event of buffered) this.#applyToFound(event);
  }

  /** With the rank that it had, so that React keeps its row. */
  #toOrder(row: OrderRow, before: ReadonlyMap<string, Found>): Order {
    return toOrder(row, before.get(row.key)?.order.rank ?? this.#nextRank--);
  }

  #applyToFound(event: OrderEvent): void {
    const found = this.#found.get(event.key);
    if (found === undefined) return;
    if (!isNewer(event.id, found.lastEventId)) return;
    this.#sorted = undefined;
    if (event.type === "order_delete") {
      this.#found.delete(event.key);
      return;
    }
    const order = event.type === "new_order" ? newOrder(event, found.order.rank) : changedOrder(found.order, event);
    this.#found.set(event.key, { order, lastEventId: event.id, byServer: false });
  }

  #isByServer(key: string): boolean {
    return this.#found.get(key)?.byServer ?? false;
  }

  #matches(order: Order, predicate: OrderPredicate): boolean {
    return this.#isByServer(order.key) || predicate(order);
  }

  #sortedFound(): Order[] {
    return (this.#sorted ??= [...this.#found.values()].map(({ order }) => order).sort(byCreation));
  }

  /** Whether an order that is not loaded may match after this event, and not have matched before. */
  #mayBeginToMatch(event: OrderEvent): boolean {
    if (event.type === "new_order" || event.type === "order_delete" || !this.#isNeeded) return false;
    const { statuses, text } = this.#filter;
    if (statuses.length > 0 && event.status !== undefined && !statuses.includes(normalizedStatus(event.status))) return false;
    if (statuses.length > 0 && event.type === "order_status_update") return true;
    return "previous_created_at" in event || (text.trim() !== "" && ("customer_name" in event || "previous_total" in event));
  }
}

/** Newest first, those without a date last. */
function byCreation(a: Order, b: Order): number {
  const [at, bt] = [a.createdMs, b.createdMs];
  if (at !== bt && !Number.isNaN(at) && !Number.isNaN(bt)) return bt - at;
  if (Number.isNaN(at) !== Number.isNaN(bt)) return Number.isNaN(at) ? 1 : -1;
  const [textA, textB] = [a.createdAt ?? "", b.createdAt ?? ""];
  return textA === textB ? b.rank - a.rank : textA < textB ? 1 : -1;
}
