import { isEvent, isNewer, isOrderEvent, type OrderDelete, type OrderEvent, type ServerMessage, type StreamEvent, type WebSocketService } from "@orderwire/client";
import { ApiError, type Api } from "../api.ts";
import { ExternalStore } from "../external-store.ts";
import { onMissedEvents } from "./missed-events.ts";
import { changedOrder, newOrder, toOrder, type Order } from "./order-list.ts";

export type HistoryEvent = OrderEvent | StreamEvent;

export interface OrderDetailSnapshot {
  /** "unknown": there is no such order, and none is known to have been. "failed": it is being tried again. */
  readonly state: "loading" | "ready" | "unknown" | "failed" | "forbidden";
  /** As it is, or as it last was. */
  readonly order: Order | null;
  readonly isDeleted: boolean;
  /** Newest first: of the order, and of the rows of streams that belong to it. */
  readonly events: readonly HistoryEvent[];
}

type Service = Pick<WebSocketService, "onMessage" | "onConnect" | "onGap" | "isConnected" | "lastEventId">;
type OrderApi = Pick<Api, "order" | "orderEvents">;

/** The most that the server returns at once. */
const MAX_EVENTS = 1_000;
const RETRY_DELAY_MS = 2_000;

/**
 * One order with its history, kept up to date by events. Events that come while the order is being fetched are applied at once, and again
 * to what was fetched; an event of the history is recognized by its id, an older one by its number.
 */
export class OrderDetail extends ExternalStore<OrderDetailSnapshot> {
  protected override snapshot: OrderDetailSnapshot;
  #lastEventId: string | undefined;
  /** Null while no fetch is in progress. */
  #buffered: HistoryEvent[] | null = null;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #stops: (() => void)[] = [];

  /** `known`: the order as the page has it already, to be shown until it is fetched. */
  constructor(
    private readonly key: string,
    private readonly service: Service,
    private readonly api: OrderApi,
    known?: Order,
  ) {
    super();
    this.snapshot = { state: "loading", order: known ?? null, isDeleted: false, events: [] };
  }

  /** Follows the events, and fetches the order. Returns a function that stops. */
  start(): () => void {
    const { service } = this;
    this.#stops = [
      service.onMessage((message) => this.#handleMessage(message)),
      onMissedEvents(service, () => this.snapshot.state === "failed", () => void this.#fetch()),
    ];
    void this.#fetch();
    return () => {
      clearTimeout(this.#retryTimer);
      this.#buffered = null;
      for (const stop of this.#stops) stop();
    };
  }

  async #fetch(): Promise<void> {
    clearTimeout(this.#retryTimer);
    const buffered: HistoryEvent[] = [];
    this.#buffered = buffered;
    const [row, history] = await Promise.allSettled([this.api.order(this.key), this.api.orderEvents(this.key, MAX_EVENTS)]);
    if (this.#buffered !== buffered) return; // a later fetch was started, or the page is left
    this.#buffered = null;
    const failed = [row, history].map(failure).find((status) => status !== null && status !== 404);
    if (failed !== undefined) return this.#fail(failed as number);
    const events = history.status === "fulfilled" ? history.value.events : [];
    this.#lastEventId = undefined;
    this.snapshot =
      row.status === "fulfilled"
        ? { state: "ready", order: toOrder(row.value, 0), isDeleted: false, events }
        : { state: events.length === 0 ? "unknown" : "ready", order: orderOf(events), isDeleted: events.length > 0, events };
    for (const event of buffered) this.#apply(event);
    this.publish();
  }

  #fail(status: number): void {
    const isFinal = status === 401 || status === 403;
    this.update({ state: isFinal ? "forbidden" : "failed" });
    if (isFinal) return;
    this.#retryTimer = setTimeout(() => {
      if (this.service.isConnected()) void this.#fetch(); // otherwise when it connects
    }, RETRY_DELAY_MS);
  }

  #handleMessage(message: ServerMessage): void {
    if (!isEvent(message)) return;
    if (("stream" in message ? String(message.order_id) : message.key) !== this.key) return;
    this.#buffered?.push(message);
    this.#apply(message);
    this.publish();
  }

  #apply(event: HistoryEvent): void {
    const { state, events } = this.snapshot;
    this.snapshot = { ...this.snapshot, events: insertEvent(events, event), state: state === "unknown" ? "ready" : state };
    if (!isOrderEvent(event) || !isNewer(event.id, this.#lastEventId)) return;
    this.#lastEventId = event.id;
    if (event.type === "order_delete") {
      this.snapshot = { ...this.snapshot, isDeleted: true, order: this.snapshot.order ?? newOrder(event, 0) };
      return;
    }
    const before = event.type === "new_order" ? null : this.snapshot.order;
    const order = changedOrder(before ?? newOrder(event, 0), event);
    this.snapshot = { ...this.snapshot, isDeleted: false, order };
    if (order.truncated.length > 0) void this.#fetchWhole(event.id);
  }

  /** Events have long texts cut. */
  async #fetchWhole(eventId: string): Promise<void> {
    try {
      const row = await this.api.order(this.key);
      if (this.#lastEventId === eventId && this.#stops.length > 0) this.update({ order: toOrder(row, 0) });
    } catch {
      // The page says that the order is shown in part.
    }
  }
}

/** The HTTP status with which a request failed; 0 without an answer, null if it did not fail. */
function failure(result: PromiseSettledResult<unknown>): number | null {
  if (result.status === "fulfilled") return null;
  return result.reason instanceof ApiError ? result.reason.status : 0;
}

/** Adds an event to a history, newest first, unless it is there already. */
export function insertEvent(events: readonly HistoryEvent[], event: HistoryEvent): readonly HistoryEvent[] {
  let index = 0;
  for (; index < events.length; index++) {
    const { id } = events[index] as HistoryEvent;
    if (id === event.id) return events;
    if (isNewer(event.id, id)) break;
  }
  return [...events.slice(0, index), event, ...events.slice(index)].slice(0, 2 * MAX_EVENTS);
}

/** The order as its history leaves it, newest event first: null without an event of the order itself. */
export function orderOf(events: readonly HistoryEvent[]): Order | null {
  let order: Order | null = null;
  for (const event of events.toReversed()) {
    if ("stream" in event) continue;
    if (event.type === "order_delete") order = lastKnown(order, event as OrderDelete);
    else order = changedOrder(event.type === "new_order" || order === null ? newOrder(event, 0) : order, event);
  }
  return order;
}

/** The event of the deletion says what is not in the journal any more. */
function lastKnown(order: Order | null, event: OrderDelete): Order {
  if (order !== null) return order;
  const { previous_status = null, previous_total = null } = event;
  const known = { ...event, type: "new_order", customer_name: null, total: previous_total, status: previous_status } as const;
  return changedOrder(newOrder(event, 0), known);
}

/** Milliseconds between each event and the one before it, by the id of the later one. Both have to have a date that JavaScript knows. */
export function gaps(events: readonly HistoryEvent[]): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (let index = 0; index + 1 < events.length; index++) {
    const [later, earlier] = [events[index] as HistoryEvent, events[index + 1] as HistoryEvent];
    const ms = Date.parse(later.at) - Date.parse(earlier.at);
    if (!Number.isNaN(ms)) found.set(later.id, ms);
  }
  return found;
}

/** Since when the order has its status, in milliseconds since the Unix epoch; null if its history does not say. */
export function statusSince(events: readonly HistoryEvent[]): number | null {
  const event = events.find(({ type }) => type === "order_status_update" || type === "new_order");
  const at = Date.parse(event?.at ?? "");
  return Number.isNaN(at) ? null : at;
}
