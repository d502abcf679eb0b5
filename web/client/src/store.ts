import {
  type AnalyticsUpdate,
  type ConnectionStatus,
  isNewer,
  isOrderEvent,
  type NewOrder,
  type OrderEvent,
  type ServerMessage,
  type WebSocketService,
  wsService,
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

/** What an `OrderStore` holds, and `useWebSocket` returns. */
export interface LiveSnapshot {
  isConnected: boolean;
  status: ConnectionStatus;
  /** Null until the first totals have come. They never come to a session without the topic `analytics`, such as a customer's. */
  stats: Stats | null;
  latestOrder: NewOrder | null;
  /** Newest first, at most 100. Emptied by a gap, so that no event is missing between two others. */
  events: readonly OrderEvent[];
  /** Resolves to whether the ping was sent. */
  sendPing: () => Promise<boolean>;
}

const MAX_EVENTS = 100;
/** Keeps the connection open between the unmount of one page and the mount of the next, and between StrictMode's two mounts. */
const DISCONNECT_DELAY_MS = 1_000;

/** The contract of React's `useSyncExternalStore`, which stores of other libraries can be made of. */
export interface OrderStore {
  /**
   * Calls `subscriber` after each change of the snapshot, at most 20 times a second. Returns a function that unsubscribes. The first
   * subscriber connects the service, and a second after the last one has gone it is disconnected, unless the application has connected it
   * itself. Throws what `WebSocketService.connect` throws.
   */
  subscribe(this: void, subscriber: () => void): () => void;
  /** The same object as long as nothing changes. As of now when `subscribe` has returned. */
  getSnapshot(this: void): LiveSnapshot;
  /** The snapshot before anything is known, for rendering on a server. */
  getServerSnapshot(this: void): LiveSnapshot;
}

/** Returns a store of its own. All stores of a service share its connection. */
export function createStore(service: WebSocketService = wsService): OrderStore {
  return new ServiceStore(service);
}

/** The subscribed stores of each service that was connected by one of them. */
const connected = new WeakMap<WebSocketService, Set<OrderStore>>();

class ServiceStore implements OrderStore {
  readonly #initial: LiveSnapshot;
  #snapshot: LiveSnapshot;
  /** The next snapshot, except for its `events`. */
  #next: LiveSnapshot;
  /** Oldest first. */
  #events: OrderEvent[] = [];
  readonly #subscribers = new Set<{ subscriber: () => void }>();
  #cleanups: (() => void)[] = [];
  #stopTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly service: WebSocketService) {
    this.#initial = {
      isConnected: false,
      status: { state: "idle" },
      stats: null,
      latestOrder: null,
      events: [],
      sendPing: () => service.send({ type: "ping" }),
    };
    this.#snapshot = this.#next = this.#initial;
  }

  readonly getSnapshot = (): LiveSnapshot => this.#snapshot;
  readonly getServerSnapshot = (): LiveSnapshot => this.#initial;

  readonly subscribe = (subscriber: () => void): (() => void) => {
    clearTimeout(this.#stopTimer);
    if (this.#cleanups.length === 0) this.#start();
    const entry = { subscriber };
    this.#subscribers.add(entry);
    return () => {
      if (this.#subscribers.delete(entry) && this.#subscribers.size === 0)
        this.#stopTimer = setTimeout(() => this.#stop(), DISCONNECT_DELAY_MS);
    };
  };

  #start(): void {
    const { service } = this;
    this.#connect();
    this.#cleanups = [
      () => this.#disconnect(),
      service.onMessage((message) => this.#handleMessage(message)),
      service.onStatus(() => this.#updateStatus()),
      service.onGap(() => this.#clearEvents()),
    ];
    const { status, totals } = service;
    this.#events = [];
    this.#next = { ...this.#initial, status, isConnected: service.isConnected(), stats: totals ? toStats(totals) : null };
    this.#snapshot = this.#next;
  }

  #stop(): void {
    for (const cleanup of this.#cleanups) cleanup();
    this.#cleanups = [];
  }

  #connect(): void {
    const { service } = this;
    if (service.status.state === "idle") {
      service.connect();
      connected.set(service, connected.get(service) ?? new Set());
    }
    connected.get(service)?.add(this);
  }

  #disconnect(): void {
    const stores = connected.get(this.service);
    if (!stores?.delete(this) || stores.size > 0) return;
    connected.delete(this.service);
    this.service.disconnect();
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
    for (const { subscriber } of [...this.#subscribers]) subscriber();
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
