import {
  isEvent,
  isOrderEvent,
  type AnalyticsUpdate,
  type NewOrder,
  type OrderEvent,
  type ServerMessage,
  type StreamEvent,
  type WebSocketService,
} from "@orderwire/client";
import { ApiError, type Api, type Meta } from "../api.ts";
import { getToken } from "../token.ts";
import { OrderList } from "./order-list.ts";
import { StatusChanges } from "./status-changes.ts";
import { Toaster, type Toast } from "./toaster.ts";

/** Some events may be missing here. */
export interface GapMarker {
  type: "gap";
  id: string;
  at: string;
}

/** An entry in the list of events. */
export type DashboardEvent = OrderEvent | StreamEvent | GapMarker;

/** What the server lets the user see. "sign-in": it requires another token. */
export type Access = "checking" | "sign-in" | "everything" | "totals";

export interface DashboardSnapshot {
  readonly access: Access;
  /** The server rejected the token that is stored. */
  readonly tokenRejected: boolean;
  readonly ordersState: "loading" | "ready" | "failed";
  /** Empty until it is loaded. */
  readonly meta: Meta;
  readonly totals: AnalyticsUpdate | null;
  /** Newest first. */
  readonly events: readonly DashboardEvent[];
  readonly toasts: readonly Toast[];
  /** Changes with every change of the orders, which are not part of the snapshot. */
  readonly version: number;
}

const MAX_EVENTS = 200;
const MIN_RENDER_INTERVAL_MS = 100;
/** Renders take at most one n-th of the main thread's time, so that scrolling and typing stay smooth. */
const RENDER_INTERVAL_RATIO = 5;
const RETRY_DELAY_MS = 2_000;
/** How often the page looks whether a table has been attached, while there is none. */
const ATTACH_CHECK_INTERVAL_MS = 5_000;
const TOAST_CHECK_INTERVAL_MS = 500;
/** A close code of docs/reference/protocol.md. */
const TOKEN_EXPIRED = 3005;

/** An external store for React. Applies messages at once, and publishes snapshots at a limited rate. */
export class DashboardStore {
  readonly orders = new OrderList();
  readonly statusChanges: StatusChanges;
  /** For views that follow events and fetch orders themselves. */
  readonly service: WebSocketService;
  readonly api: Api;
  readonly #onNewOrder: (order: NewOrder) => void;
  readonly #toaster = new Toaster();
  readonly #listeners = new Set<() => void>();
  #snapshot: DashboardSnapshot;
  #access: Access = "checking";
  #ordersState: DashboardSnapshot["ordersState"] = "loading";
  #meta: Meta = { statuses: [], cancelled: [] };
  #totals: AnalyticsUpdate | null = null;
  /** Oldest first. Shortened to MAX_EVENTS when it has twice as many. */
  #events: DashboardEvent[] = [];
  #loadingOlder = false;
  #loadTimer: ReturnType<typeof setTimeout> | undefined;
  #renderScheduled = false;
  #nextRenderAt = 0;

  constructor(service: WebSocketService, api: Api, onNewOrder: (order: NewOrder) => void) {
    this.service = service;
    this.api = api;
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
    this.statusChanges = new StatusChanges(service, api);
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
      await this.api.totals();
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
    this.service.disconnect();
    // The token is for this tab only. Another tab may have one with other rights, so their connections must not be shared.
    this.service.configure({ share: false });
    this.#scheduleRender();
  }

  async loadOlderOrders(): Promise<void> {
    const { next } = this.orders;
    if (this.#loadingOlder || this.#ordersState !== "ready" || next === undefined) return;
    this.#loadingOlder = true;
    const merge = this.orders.startFetch(false);
    try {
      const page = await this.api.orders(next);
      if (merge(page.orders, page.next)) this.#scheduleRender();
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
      const [meta, page] = await Promise.all([this.api.meta(), this.api.orders()]);
      if (!merge(page.orders, page.next)) return;
      this.#meta = meta;
      this.#ordersState = "ready";
      this.#access = "everything";
      if (meta.table === null) this.#loadOrdersLater(ATTACH_CHECK_INTERVAL_MS, () => this.#meta.table === null);
    } catch (error) {
      const status = error instanceof ApiError ? error.status : 0;
      if (status === 401) return this.#requireSignIn();
      if (status === 403) {
        this.#access = "totals";
      } else {
        this.#ordersState = "failed";
        this.#loadOrdersLater(RETRY_DELAY_MS, () => this.#ordersState === "failed");
      }
    }
    this.#scheduleRender();
  }

  #loadOrdersLater(delayMs: number, isNeeded: () => boolean): void {
    clearTimeout(this.#loadTimer);
    this.#loadTimer = setTimeout(() => {
      if (isNeeded() && this.service.isConnected()) void this.#loadOrders();
    }, delayMs);
  }

  #handleMessage(message: ServerMessage): void {
    if (message.type === "analytics_update") {
      this.#totals = message;
      this.#scheduleRender();
    } else if (isEvent(message)) {
      this.#events.push(message);
      if (this.#events.length > 2 * MAX_EVENTS) this.#events = this.#events.slice(-MAX_EVENTS);
      if (isOrderEvent(message)) {
        if (this.orders.apply(message) === "added" && message.type === "new_order") {
          this.#toaster.add(message, Date.now());
          this.#onNewOrder(message);
        }
        this.statusChanges.apply(message);
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
      meta: this.#meta,
      totals: this.#totals,
      events: this.#events.slice(-MAX_EVENTS).reverse(),
      toasts: this.#toaster.toasts,
      version,
    };
  }
}
