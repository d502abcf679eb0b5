import { type AnalyticsUpdate, isNewer, isOrderEvent, type OrderEvent, type ServerFrame, type WebSocketService } from "./orderwire.js";
import type { Live, Stats } from "./react.js";
import { throttled } from "./throttled.js";

const KEPT_EVENTS = 100;
/** From one page to the next, and between the two mounts of StrictMode, the connection stays. */
const LINGER_MS = 1_000;

/** What a service tells, as an external store: snapshots that never change, and few of them. */
export class OrderStore {
  readonly #initial: Live;
  #live: Live;
  /** The snapshot to come, but for its events. */
  #next: Live;
  /** Oldest first. */
  #events: OrderEvent[] = [];
  readonly #readers = new Set<() => void>();
  #ends: (() => void)[] = [];
  #leaving: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly service: WebSocketService) {
    this.#initial = {
      isConnected: false,
      status: { state: "idle" },
      stats: { totalOrders: 0, totalRevenue: "0", pendingOrders: 0 },
      latestOrder: null,
      events: [],
      sendPing: () => service.send({ type: "ping" }),
    };
    this.#live = this.#next = this.#initial;
  }

  readonly snapshot = (): Live => this.#live;
  readonly serverSnapshot = (): Live => this.#initial;

  readonly subscribe = (reader: () => void): (() => void) => {
    this.#readers.add(reader);
    clearTimeout(this.#leaving);
    if (this.#ends.length === 0) this.#start();
    return () => {
      this.#readers.delete(reader);
      if (this.#readers.size === 0) this.#leaving = setTimeout(() => this.#stop(), LINGER_MS);
    };
  };

  #start(): void {
    const { service } = this;
    this.#next = this.#initial;
    this.#forget();
    if (service.totals) this.#update({ stats: statsOf(service.totals) });
    this.#ends = [
      service.onMessage((frame) => this.#receive(frame)),
      service.onStatus(() => this.#statusChanged()),
      service.onGap(() => this.#forget()),
    ];
    if (service.status.state === "idle") {
      this.#ends.unshift(() => service.disconnect());
      service.connect();
    }
    this.#statusChanged();
  }

  #stop(): void {
    for (const end of this.#ends) end();
    this.#ends = [];
  }

  #statusChanged(): void {
    this.#update({ status: this.service.status, isConnected: this.service.isConnected() });
  }

  #receive(frame: ServerFrame): void {
    if (frame.type === "analytics_update") this.#update({ stats: statsOf(frame) });
    else if (isOrderEvent(frame)) this.#happened(frame);
  }

  #happened(event: OrderEvent): void {
    // A resume may replay what is older than what is shown.
    const last = this.#events.findLast(({ order_id }) => order_id === event.order_id);
    if (!isNewer(event.id, last?.id)) return;
    this.#events.push(event);
    if (this.#events.length > 2 * KEPT_EVENTS) this.#events.splice(0, KEPT_EVENTS);
    this.#update(event.type === "new_order" ? { latestOrder: event } : {});
  }

  /** With a hole in it the list would be a lie. */
  #forget(): void {
    this.#events = [];
    this.#update({ latestOrder: null });
  }

  #update(change: Partial<Live>): void {
    this.#next = { ...this.#next, ...change };
    this.#publish();
  }

  readonly #publish = throttled(() => {
    this.#live = { ...this.#next, events: this.#events.slice(-KEPT_EVENTS).reverse() };
    for (const reader of [...this.#readers]) reader();
  });
}

function statsOf({ total_orders, total_revenue, pending_orders }: AnalyticsUpdate): Stats {
  return { totalOrders: total_orders, totalRevenue: total_revenue, pendingOrders: pending_orders };
}
