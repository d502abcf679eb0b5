import { ApiError, type Api, type Meta, type OrderPage } from "../api.ts";
import type { OlderPage, OrderList } from "./order-list.ts";

/** What the server has said to the last request for orders. */
export type OrdersState = "loading" | "ready" | "failed" | "forbidden";

const RETRY_DELAY_MS = 2_000;
/** How often it looks whether a table has been attached, while there is none. */
const ATTACH_CHECK_INTERVAL_MS = 5_000;

/** Fetches the newest orders and the map of their table, and pages of older ones. */
export class OrdersLoader {
  readonly #orders: OrderList;
  readonly #api: Api;
  readonly #isConnected: () => boolean;
  readonly #onChange: () => void;
  /** Runs a function when all events that have been received are applied: a page may include them. */
  readonly #whenSettled: (run: () => void) => void;
  #state: OrdersState = "loading";
  /** Empty until it is loaded. */
  #meta: Meta = { statuses: [], cancelled: [] };
  /** The answer that wants another token. */
  #rejection: ApiError | null = null;
  #position: string | undefined;
  #loadingOlder = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(orders: OrderList, api: Api, isConnected: () => boolean, whenSettled: (run: () => void) => void, onChange: () => void) {
    this.#orders = orders;
    this.#api = api;
    this.#isConnected = isConnected;
    this.#whenSettled = whenSettled;
    this.#onChange = onChange;
  }

  get state(): OrdersState {
    return this.#state;
  }

  get meta(): Meta {
    return this.#meta;
  }

  /** The cursor of the event that the newest page of orders was as of. */
  get position(): string | undefined {
    return this.#position;
  }

  get rejection(): ApiError | null {
    return this.#rejection;
  }

  /** A newer one than that which came with the orders. */
  setMeta(meta: Meta): void {
    this.#meta = meta;
  }

  async load(): Promise<void> {
    this.#state = "loading"; // prevents loadOlder
    this.#rejection = null;
    const merge = this.#orders.startFetch(true);
    try {
      const [meta, page] = await Promise.all([this.#api.meta(), this.#api.orders()]);
      this.#whenSettled(() => {
        if (!merge(page.orders, pageAfter(page))) return;
        this.#meta = meta;
        this.#position = page.position;
        this.#state = "ready";
        if (meta.table === null) this.#loadLater(ATTACH_CHECK_INTERVAL_MS, () => this.#meta.table === null);
        this.#onChange();
      });
    } catch (error) {
      const status = error instanceof ApiError ? error.status : 0;
      this.#state = status === 403 ? "forbidden" : "failed";
      if (error instanceof ApiError && status === 401) this.#rejection = error;
      if (this.#state === "failed") this.#loadLater(RETRY_DELAY_MS, () => this.#state === "failed");
      this.#onChange();
    }
  }

  /** Adds the next page of older orders, unless there is none, or no space for it. */
  async loadOlder(): Promise<void> {
    const { next } = this.#orders;
    if (this.#loadingOlder || this.#state !== "ready" || next === undefined) return;
    this.#loadingOlder = true;
    const merge = this.#orders.startFetch(false);
    try {
      const page = await this.#api.orders(next.after, next.to);
      if (merge(page.orders, pageAfter(page, next.to))) this.#onChange();
    } catch {
      // Retried when the user scrolls.
    } finally {
      this.#loadingOlder = false;
    }
  }

  #loadLater(delayMs: number, isNeeded: () => boolean): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (isNeeded() && this.#isConnected()) void this.load();
    }, delayMs);
  }
}

/** `to`: the time before which the orders of the page were made, if it was limited: then orders without a time may follow on the last one. */
function pageAfter({ next, complete }: OrderPage, to?: string): OlderPage | null | undefined {
  if (to !== undefined) return next === null ? undefined : { after: next, to };
  if (next === null) return complete === false ? undefined : null;
  return { after: next };
}
