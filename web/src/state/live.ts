import { isOrderEvent, type AnalyticsUpdate, type NewOrder, type OrderEvent, type ServerMessage } from "@orderwire/client";
import type { WebSocketService } from "@orderwire/client";
import { ApiError, ORDERS_PAGE, type Api } from "../api.ts";
import { getToken } from "../token.ts";
import { OrderBook } from "./order-book.ts";
import { Toaster, type Toast } from "./toaster.ts";

/** Said in the list of events where some may be missing. */
export interface Gap {
  type: "gap";
  id: string;
  at: string;
}

/** What the server lets this person see. */
export type Access = "checking" | "sign-in" | "everything" | "totals";

export interface View {
  readonly access: Access;
  /** A token was given, and refused. */
  readonly refused: boolean;
  readonly orders: "loading" | "ready" | "failed";
  readonly totals: AnalyticsUpdate | null;
  /** Newest first. */
  readonly events: readonly (OrderEvent | Gap)[];
  readonly toasts: readonly Toast[];
  /** Another number, another state of the book. */
  readonly version: number;
}

const MOST_EVENTS = 200;
/** More often nobody can read it. */
const DRAW_EVERY_MS = 100;
/** Of the time between two draws at most one part in so many goes into drawing; the rest is for scrolling and typing. */
const DRAW_SHARE = 5;
const RETRY_MS = 2_000;
/** A close code of docs/protocol.md. */
const TOKEN_EXPIRED = 3005;

/** Everything that changes by itself: takes what comes over the connection at once, and lets the page draw it in its time. */
export class Live {
  readonly book = new OrderBook();
  readonly #service: WebSocketService;
  readonly #api: Api;
  readonly #onNewOrder: (order: NewOrder) => void;
  readonly #toaster = new Toaster();
  readonly #listeners = new Set<() => void>();
  #view: View;
  #access: Access = "checking";
  #orders: View["orders"] = "loading";
  #totals: AnalyticsUpdate | null = null;
  /** Oldest first, and up to twice as many as are shown. */
  #events: (OrderEvent | Gap)[] = [];
  #loadingOlder = false;
  #drawIsDue = false;
  #nextDraw = 0;

  constructor(service: WebSocketService, api: Api, onNewOrder: (order: NewOrder) => void) {
    this.#service = service;
    this.#api = api;
    this.#onNewOrder = onNewOrder;
    this.#view = this.#look(0);
    service.onMessage((frame) => this.#take(frame));
    service.onConnect(() => {
      // With a cursor the connection resumes; without one nobody knows what happened meanwhile.
      if (this.#orders !== "ready" || service.lastEventId === undefined) void this.#load();
    });
    service.onGap(() => {
      const at = new Date().toISOString();
      this.#events.push({ type: "gap", id: `gap-${at}`, at });
      void this.#load();
    });
    service.onStatus((status) => {
      if (status.state === "closed" && status.terminal) void this.checkAccess();
    });
    service.onDisconnect(({ code }) => {
      // Only whoever pasted the token can give another.
      if (code === TOKEN_EXPIRED) void this.checkAccess();
    });
    setInterval(() => {
      if (this.#toaster.expire(Date.now())) this.#changed();
    }, 500);
  }

  // Bound: React calls them by themselves.
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
  readonly getView = (): View => this.#view;

  /** Ask the server whether it lets us in; a handshake that is refused does not tell a browser why. */
  async checkAccess(): Promise<void> {
    try {
      await this.#api.totals();
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        this.#signIn();
        return;
      }
      // Not reachable, or not ready: the connection goes on trying, and shows that.
    }
    if (this.#access === "checking" || this.#access === "sign-in") {
      this.#access = "everything";
      this.#changed();
    }
  }

  #signIn(): void {
    this.#access = "sign-in";
    this.#service.disconnect();
    // A token is the tab's own, and so is what it lets one see: no sharing with tabs of another.
    this.#service.configure({ share: false });
    this.#changed();
  }

  /** Fetch a page of older orders. */
  async loadOlder(): Promise<void> {
    const oldest = this.book.oldest;
    if (this.#loadingOlder || this.#orders !== "ready" || oldest === undefined || this.book.reachesBack || this.book.isFull) return;
    this.#loadingOlder = true;
    const merge = this.book.startFetch(false);
    try {
      const rows = await this.#api.orders(oldest.id);
      if (merge(rows, rows.length < ORDERS_PAGE)) this.#changed();
    } catch {
      // Tried again at the next scroll; what is there stays right.
    } finally {
      this.#loadingOlder = false;
    }
  }

  dismissToast(key: number): void {
    this.#toaster.dismiss(key);
    this.#changed();
  }

  renewToasts(): void {
    this.#toaster.renew(Date.now());
  }

  async #load(): Promise<void> {
    this.#orders = "loading"; // older ones are not to be asked for meanwhile
    const merge = this.book.startFetch(true);
    try {
      const rows = await this.#api.orders();
      if (!merge(rows, rows.length < ORDERS_PAGE)) return;
      this.#orders = "ready";
      this.#access = "everything";
    } catch (error) {
      const status = error instanceof ApiError ? error.status : 0;
      if (status === 401) return this.#signIn();
      if (status === 403) {
        this.#access = "totals";
      } else {
        this.#orders = "failed";
        setTimeout(() => {
          if (this.#orders === "failed" && this.#service.isConnected()) void this.#load();
        }, RETRY_MS);
      }
    }
    this.#changed();
  }

  #take(frame: ServerMessage): void {
    if (frame.type === "analytics_update") {
      this.#totals = frame;
      this.#changed();
    } else if (isOrderEvent(frame)) {
      this.#events.push(frame);
      if (this.#events.length > 2 * MOST_EVENTS) this.#events = this.#events.slice(-MOST_EVENTS);
      if (this.book.apply(frame) === "added" && frame.type === "new_order") {
        this.#toaster.add(frame, Date.now());
        this.#onNewOrder(frame);
      }
      this.#changed();
    }
  }

  #changed(): void {
    if (this.#drawIsDue) return;
    this.#drawIsDue = true;
    // In a hidden tab the frame waits until somebody looks.
    setTimeout(() => requestAnimationFrame(() => this.#draw()), Math.max(0, this.#nextDraw - performance.now()));
  }

  #draw(): void {
    const start = performance.now();
    this.#drawIsDue = false;
    this.#view = this.#look(this.#view.version + 1);
    for (const listener of this.#listeners) listener();
    // React draws in a microtask, before this timer.
    setTimeout(() => {
      this.#nextDraw = start + Math.max(DRAW_EVERY_MS, DRAW_SHARE * (performance.now() - start));
    });
    this.#nextDraw = start + DRAW_EVERY_MS;
  }

  #look(version: number): View {
    return {
      access: this.#access,
      refused: this.#access === "sign-in" && getToken() !== null,
      orders: this.#orders,
      totals: this.#totals,
      events: this.#events.slice(-MOST_EVENTS).reverse(),
      toasts: this.#toaster.toasts,
      version,
    };
  }
}
