import {
  isOrderEvent,
  type AnalyticsUpdate,
  type NewOrder,
  type OrderEvent,
  type ServerMessage,
  type WebSocketService,
} from "@orderwire/client";
import { ApiError, ORDERS_PAGE_SIZE, type Api } from "../api.ts";
import { getToken } from "../token.ts";
import { OrderList } from "./order-list.ts";
import { Toaster, type Toast } from "./toaster.ts";

/** An entry in the list of events: some may be missing here. */
export interface GapMarker {
  type: "gap";
  id: string;
  at: string;
}

/** What the server lets the user see. "sign-in": it requires another token. */
export type Access = "checking" | "sign-in" | "everything" | "totals";

export interface DashboardSnapshot {
  readonly access: Access;
  /** The server rejected the token that is stored. */
  readonly tokenRejected: boolean;
  readonly ordersState: "loading" | "ready" | "failed";
  readonly totals: AnalyticsUpdate | null;
  /** Newest first. */
  readonly events: readonly (OrderEvent | GapMarker)[];
  readonly toasts: readonly Toast[];
  /** Changes with every change of the orders, which are not part of the snapshot. */
  readonly version: number;
}

const MAX_EVENTS = 200;
const MIN_RENDER_INTERVAL_MS = 100;
/** Renders take at most one n-th of the main thread's time, so that scrolling and typing stay smooth. */
const RENDER_INTERVAL_RATIO = 5;
const RETRY_DELAY_MS = 2_000;
const TOAST_CHECK_INTERVAL_MS = 500;
/** A close code of docs/reference/protocol.md. */
const TOKEN_EXPIRED = 3005;

/** An external store for React. Applies messages at once, and publishes snapshots at a limited rate. */
export class DashboardStore {
  readonly orders = new OrderList();
  readonly #service: WebSocketService;
  readonly #api: Api;
  readonly #onNewOrder: (order: NewOrder) => void;
  readonly #toaster = new Toaster();
  readonly #listeners = new Set<() => void>();
  #snapshot: DashboardSnapshot;
  #access: Access = "checking";
  #ordersState: DashboardSnapshot["ordersState"] = "loading";
  #totals: AnalyticsUpdate | null = null;
  /** Oldest first. Shortened to MAX_EVENTS when it has twice as many. */
  #events: (OrderEvent | GapMarker)[] = [];
  #loadingOlder = false;
  #renderScheduled = false;
  #nextRenderAt = 0;

  constructor(service: WebSocketService, api: Api, onNewOrder: (order: NewOrder) => void) {
    this.#service = service;
    this.#api = api;
    this.#onNewOrder = onNewOrder;
    this.#snapshot = this.#createSnapshot(0);
    service.onMessage((message) => this.#handleMessage(message));
    service.onConnect(() => {
      // With a cursor the connection resumes. Without one, changes during the outage are unknown.
      if (this.#ordersState !== "ready" || service.lastEventId === undefined) void this.#loadOrders();
    });
    service.onGap(() => {
      const at = new Date().toISOString();
      this.#events.push({ type: "gap", id: `gap-${at}`, at });
      void this.#loadOrders();
    });
    service.onStatus((status) => {
      if (status.state === "closed" && status.terminal) void this.checkAccess();
    });
    service.onDisconnect(({ code }) => {
      // A token that the user has entered cannot be renewed: ask for another.
      if (code === TOKEN_EXPIRED) void this.checkAccess();
    });
    setInterval(() => {
      if (this.#toaster.expire(Date.now())) this.#scheduleRender();
    }, TOAST_CHECK_INTERVAL_MS);
  }

  // Arrow functions, since React calls them without `this`.
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
  readonly getSnapshot = (): DashboardSnapshot => this.#snapshot;

  /** Finds out over HTTP whether the token is accepted: a browser does not report the status of a rejected WebSocket handshake. */
  async checkAccess(): Promise<void> {
    try {
      await this.#api.totals();
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        this.#requireSignIn();
        return;
      }
      // The server is unreachable or not ready. The connection is retried, and its status is displayed.
    }
    if (this.#access === "checking" || this.#access === "sign-in") {
      this.#access = "everything";
      this.#scheduleRender();
    }
  }

  #requireSignIn(): void {
    this.#access = "sign-in";
    this.#service.disconnect();
    // The token is for this tab only. Another tab may have one with other rights, so their connections must not be shared.
    this.#service.configure({ share: false });
    this.#scheduleRender();
  }

  async loadOlderOrders(): Promise<void> {
    const { oldest, isComplete, isFull } = this.orders;
    if (this.#loadingOlder || this.#ordersState !== "ready" || oldest === undefined || isComplete || isFull) return;
    this.#loadingOlder = true;
    const merge = this.orders.startFetch(false);
    try {
      const rows = await this.#api.orders(oldest.id);
      if (merge(rows, rows.length < ORDERS_PAGE_SIZE)) this.#scheduleRender();
    } catch {
      // Retried when the user scrolls.
    } finally {
      this.#loadingOlder = false;
    }
  }

  dismissToast(key: number): void {
    this.#toaster.dismiss(key);
    this.#scheduleRender();
  }

  extendToasts(): void {
    this.#toaster.extend(Date.now());
  }

  async #loadOrders(): Promise<void> {
    this.#ordersState = "loading"; // prevents loadOlderOrders
    const merge = this.orders.startFetch(true);
    try {
      const rows = await this.#api.orders();
      if (!merge(rows, rows.length < ORDERS_PAGE_SIZE)) return;
      this.#ordersState = "ready";
      this.#access = "everything";
    } catch (error) {
      const status = error instanceof ApiError ? error.status : 0;
      if (status === 401) return this.#requireSignIn();
      if (status === 403) {
        this.#access = "totals";
      } else {
        this.#ordersState = "failed";
        setTimeout(() => {
          if (this.#ordersState === "failed" && this.#service.isConnected()) void this.#loadOrders();
        }, RETRY_DELAY_MS);
      }
    }
    this.#scheduleRender();
  }

  #handleMessage(message: ServerMessage): void {
    if (message.type === "analytics_update") {
      this.#totals = message;
      this.#scheduleRender();
    } else if (isOrderEvent(message)) {
      this.#events.push(message);
      if (this.#events.length > 2 * MAX_EVENTS) this.#events = this.#events.slice(-MAX_EVENTS);
      if (this.orders.apply(message) === "added" && message.type === "new_order") {
        this.#toaster.add(message, Date.now());
        this.#onNewOrder(message);
      }
      this.#scheduleRender();
    }
  }

  #scheduleRender(): void {
    if (this.#renderScheduled) return;
    this.#renderScheduled = true;
    // Browsers call no animation frames in a hidden tab: it renders when it becomes visible.
    setTimeout(() => requestAnimationFrame(() => this.#render()), Math.max(0, this.#nextRenderAt - performance.now()));
  }

  #render(): void {
    const start = performance.now();
    this.#renderScheduled = false;
    this.#snapshot = this.#createSnapshot(this.#snapshot.version + 1);
    for (const listener of this.#listeners) listener();
    // React renders in a microtask, so this timer runs after it and measures its time.
    setTimeout(() => {
      this.#nextRenderAt = start + Math.max(MIN_RENDER_INTERVAL_MS, RENDER_INTERVAL_RATIO * (performance.now() - start));
    });
    this.#nextRenderAt = start + MIN_RENDER_INTERVAL_MS;
  }

  #createSnapshot(version: number): DashboardSnapshot {
    return {
      access: this.#access,
      tokenRejected: this.#access === "sign-in" && getToken() !== null,
      ordersState: this.#ordersState,
      totals: this.#totals,
      events: this.#events.slice(-MAX_EVENTS).reverse(),
      toasts: this.#toaster.toasts,
      version,
    };
  }
}
