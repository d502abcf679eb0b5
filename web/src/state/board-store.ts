import { isOrderEvent, type ServerMessage } from "@orderwire/client";
import { ApiError } from "../api.ts";
import { ExternalStore } from "../external-store.ts";
import { Board, type ColumnRows } from "./board.ts";
import type { DashboardStore } from "./dashboard-store.ts";
import { onMissedEvents } from "./missed-events.ts";

export interface BoardSnapshot {
  /** "failed": it is being tried again. */
  readonly state: "loading" | "ready" | "failed" | "forbidden";
  /** Changes when the columns were fetched. Changes by events come with the version of the dashboard's snapshot. */
  readonly fetches: number;
}

/** Of a column, at once: more than it shows, so that cards that leave it can be replaced. */
const COLUMN_ROWS = 1_000;
const RETRY_DELAY_MS = 2_000;
/** When more orders at once are known by their events alone, the columns are fetched anew. */
const MAX_COMPLETING = 20;

type Source = Pick<DashboardStore, "service" | "api" | "orders">;

/** Fetches the columns of the board, one request each, and applies the events. */
export class BoardStore extends ExternalStore<BoardSnapshot> {
  readonly board = new Board();
  readonly #source: Source;
  /** Called for each new order, also for those that no event has told of. */
  readonly #onNewOrder: () => void;
  #statuses: readonly string[] = [];
  protected override snapshot: BoardSnapshot = { state: "loading", fetches: 0 };
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Requests for single orders in progress. */
  #completing = 0;

  constructor(source: Source, onNewOrder: () => void = () => {}) {
    super();
    this.#source = source;
    this.#onNewOrder = onNewOrder;
  }

  /** Follows the events. Returns a function that stops. */
  start(): () => void {
    const { service } = this.#source;
    const stops = [
      service.onMessage((message) => this.#handleMessage(message)),
      onMissedEvents(service, () => this.snapshot.state === "failed", () => void this.#fetch()),
    ];
    return () => {
      clearTimeout(this.#timer);
      this.#statuses = [];
      this.board.startFetch(); // no answer is taken any more
      for (const stop of stops) stop();
    };
  }

  /** Fetches the columns of these statuses. */
  show(statuses: readonly string[]): void {
    this.#statuses = statuses;
    void this.#fetch();
  }

  async #fetch(): Promise<void> {
    clearTimeout(this.#timer);
    const statuses = this.#statuses;
    if (statuses.length === 0) return;
    const replace = this.board.startFetch();
    try {
      const newOrders = replace(await this.#fetchColumns(statuses));
      if (newOrders === null) return;
      for (let order = 0; order < newOrders; order++) this.#onNewOrder();
      this.update({ state: "ready", fetches: this.snapshot.fetches + 1 });
    } catch (error) {
      const status = error instanceof ApiError ? error.status : 0;
      if (status === 401 || status === 403) return this.update({ state: "forbidden" });
      this.update({ state: "failed" });
      this.#fetchLater(RETRY_DELAY_MS);
    }
  }

  async #fetchColumns(statuses: readonly string[]): Promise<ColumnRows[]> {
    const { api } = this.#source;
    const pages = await Promise.all(statuses.map((status) => api.ordersWithStatus(status, COLUMN_ROWS)));
    return pages.map(({ orders, next }, index) => ({ status: statuses[index] as string, rows: orders, isComplete: next === null }));
  }

  #fetchLater(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#source.service.isConnected()) void this.#fetch();
      else this.#fetchLater(delayMs);
    }, delayMs);
  }

  #handleMessage(message: ServerMessage): void {
    if (!isOrderEvent(message)) return;
    const { orders, api } = this.#source;
    const change = this.board.apply(message, orders.get(message.key));
    if (change === "new") this.#onNewOrder();
    if (change !== "incomplete") return;
    // The event of a change has not all that a card shows.
    if (this.#completing >= MAX_COMPLETING) return this.#fetchLater(RETRY_DELAY_MS);
    this.#completing++;
    api.order(message.key).then(
      (row) => {
        this.#completing--;
        this.board.complete(row, message.id);
        this.update({ fetches: this.snapshot.fetches + 1 });
      },
      () => this.#completing--, // the card stays without the customer's name
    );
  }
}
