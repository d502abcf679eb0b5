import {
  type AnalyticsUpdate,
  type ConnectionStatus,
  isNewer,
  isOrderEvent,
  type NewOrder,
  type OrderEvent,
  type ServerMessage,
  type WebSocketService,
} from "./orderwire.js";
import { throttle } from "./throttle.js";

export interface Stats {
  totalOrders: number;
  /** A decimal string. Of the server's setting CURRENCY if the table has currencies. */
  totalRevenue: string;
  pendingOrders: number;
  /** Undefined if the table has no currencies. */
  revenueByCurrency: Readonly<Record<string, string>> | undefined;
}

/** What `useWebSocket` returns. */
export interface LiveSnapshot {
  isConnected: boolean;
  status: ConnectionStatus;
  stats: Stats;
  latestOrder: NewOrder | null;
  /** Newest first, at most 100. Emptied by a gap, so that no event is missing between two others. */
  events: readonly OrderEvent[];
  /** Resolves to whether the ping was sent. */
  sendPing: () => Promise<boolean>;
}

const MAX_EVENTS = 100;
/** Keeps the connection open between the unmount of one page and the mount of the next, and between StrictMode's two mounts. */
const DISCONNECT_DELAY_MS = 1_000;

/** An external store for React's `useSyncExternalStore`. Snapshots are immutable, and published at most 20 times a second. */
export class OrderStore {
  readonly #initial: LiveSnapshot;
  #snapshot: LiveSnapshot;
  /** The next snapshot, except for its `events`. */
  #next: LiveSnapshot;
  /** Oldest first. */
  #events: OrderEvent[] = [];
  readonly #subscribers = new Set<() => void>();
  #cleanups: (() => void)[] = [];
  #stopTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly service: WebSocketService) {
    this.#initial = {
      isConnected: false,
      status: { state: "idle" },
      stats: { totalOrders: 0, totalRevenue: "0", pendingOrders: 0, revenueByCurrency: undefined },
      latestOrder: null,
      events: [],
      sendPing: () => service.send({ type: "ping" }),
    };
    this.#snapshot = this.#next = this.#initial;
  }

  readonly getSnapshot = (): LiveSnapshot => this.#snapshot;
  readonly getServerSnapshot = (): LiveSnapshot => this.#initial;

  readonly subscribe = (subscriber: () => void): (() => void) => {
    this.#subscribers.add(subscriber);
    clearTimeout(this.#stopTimer);
    if (this.#cleanups.length === 0) this.#start();
    return () => {
      this.#subscribers.delete(subscriber);
      if (this.#subscribers.size === 0) this.#stopTimer = setTimeout(() => this.#stop(), DISCONNECT_DELAY_MS);
    };
  };

  #start(): void {
    const { service } = this;
    this.#next = this.#initial;
    this.#clearEvents();
    if (service.totals) this.#update({ stats: toStats(service.totals) });
    this.#cleanups = [
      service.onMessage((message) => this.#handleMessage(message)),
      service.onStatus(() => this.#updateStatus()),
      service.onGap(() => this.#clearEvents()),
    ];
    // A service that the application has connected itself stays connected after the last component unmounts.
    if (service.status.state === "idle") {
      this.#cleanups.unshift(() => service.disconnect());
      service.connect();
    }
    this.#updateStatus();
  }

  #stop(): void {
    for (const cleanup of this.#cleanups) cleanup();
    this.#cleanups = [];
  }

  #updateStatus(): void {
    this.#update({ status: this.service.status, isConnected: this.service.isConnected() });
  }

  #handleMessage(message: ServerMessage): void {
    if (message.type === "analytics_update") this.#update({ stats: toStats(message) });
    else if (isOrderEvent(message)) this.#addEvent(message);
  }

  #addEvent(event: OrderEvent): void {
    // A resume may replay events that are older than the last one of their order.
    const last = this.#events.findLast(({ key }) => key === event.key);
    if (!isNewer(event.id, last?.id)) return;
    this.#events.push(event);
    if (this.#events.length > 2 * MAX_EVENTS) this.#events.splice(0, MAX_EVENTS);
    this.#update(event.type === "new_order" ? { latestOrder: event } : {});
  }

  #clearEvents(): void {
    this.#events = [];
    this.#update({ latestOrder: null });
  }

  #update(change: Partial<LiveSnapshot>): void {
    this.#next = { ...this.#next, ...change };
    this.#publish();
  }

  readonly #publish = throttle(() => {
    this.#snapshot = { ...this.#next, events: this.#events.slice(-MAX_EVENTS).reverse() };
    for (const subscriber of [...this.#subscribers]) subscriber();
  });
}

function toStats(totals: AnalyticsUpdate): Stats {
  return {
    totalOrders: totals.total_orders,
    totalRevenue: totals.total_revenue,
    pendingOrders: totals.pending_orders,
    revenueByCurrency: totals.revenue_by_currency,
  };
}
