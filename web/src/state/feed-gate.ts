import type { AnalyticsUpdate, OrderEvent, ServerMessage, StreamEvent } from "@orderwire/client";

/** What is to be applied together: afterwards events and totals are of one point of the feed. */
export interface FeedStep {
  events: readonly (OrderEvent | StreamEvent)[];
  /** Null: the totals do not change. */
  totals: AnalyticsUpdate | null;
}

/** Events are held no longer than this if no totals come. */
export const MAX_HOLD_MS = 250;
/** The server answers a resume when it has found what to replay. A tab that joins a shared connection may get no answer. */
export const MAX_RESUME_MS = 2_000;

/**
 * Holds events back until the totals that count them arrive, so that the page never shows one without the other
 * (docs/explanation/dashboard-state.md). Callers pass the present time in milliseconds.
 */
export class FeedGate {
  #changesTotals: (event: OrderEvent) => boolean;
  #held: (OrderEvent | StreamEvent)[] = [];
  #totals: AnalyticsUpdate | null = null;
  /**
   * "live": totals count every event before them. "resuming": a connection that resumes has sent no answer yet, and its first totals are
   * ahead of the events that follow. "replaying": these follow, up to the next totals.
   */
  #state: "live" | "resuming" | "replaying" = "live";
  /** When the held events have to be let through. Infinity: nothing is held. */
  #deadline = Infinity;

  /** `changesTotals`: whether the event may change the totals. */
  constructor(changesTotals: (event: OrderEvent) => boolean) {
    this.#changesTotals = changesTotals;
  }

  setRule(changesTotals: (event: OrderEvent) => boolean): void {
    this.#changesTotals = changesTotals;
  }

  get deadline(): number {
    return this.#deadline;
  }

  /** Whether everything that has been received is applied. */
  get isEmpty(): boolean {
    return this.#held.length === 0 && this.#totals === null && this.#state === "live";
  }

  /** A connection has been opened. `resumes`: it continues where the one before it ended. */
  connected(resumes: boolean, now: number): void {
    this.#state = resumes ? "resuming" : "live";
    if (resumes) this.#deadline = now + MAX_RESUME_MS;
  }

  /** Returns what is to be applied now, or null. */
  receive(message: ServerMessage, now: number): FeedStep | null {
    if (this.#state === "replaying") this.#deadline = now + MAX_HOLD_MS; // it may take a while: only a pause ends it
    if (message.type === "resumed") {
      // Not recovered: the orders are fetched anew, and the totals that follow count every event before them.
      this.#state = "replaying";
      this.#deadline = now + MAX_HOLD_MS;
      return null;
    }
    if (message.type === "analytics_update") {
      this.#totals = message;
      return this.#state === "resuming" ? null : this.release();
    }
    if (!("id" in message)) return null;
    const mayPass = this.#state === "live" && this.#held.length === 0 && ("stream" in message || !this.#changesTotals(message));
    if (mayPass) return { events: [message], totals: null };
    if (this.#state === "live" && this.#held.length === 0) this.#deadline = now + MAX_HOLD_MS;
    this.#held.push(message);
    return null;
  }

  /** Lets everything through that is held. */
  release(): FeedStep {
    const step = { events: this.#held, totals: this.#totals };
    this.#held = [];
    this.#totals = null;
    this.#state = "live";
    this.#deadline = Infinity;
    return step;
  }
}

/**
 * Returns a function that tells whether an event may change the totals: the number of orders, of pending ones, and the revenue. `pending`
 * and `cancelled` are the statuses of the table's map.
 */
export function changesTotalsOf(pending: readonly string[], cancelled: readonly string[]): (event: OrderEvent) => boolean {
  const countsDiffer = (a: string | null, b: string | null): boolean =>
    [pending, cancelled].some((statuses) => statuses.includes(a ?? "") !== statuses.includes(b ?? ""));
  return (event) => {
    if (event.type === "new_order" || event.type === "order_delete" || event.truncated !== undefined) return true;
    if ("previous_total" in event || "previous_currency" in event) return true;
    return event.type === "order_status_update" && countsDiffer(event.status, event.previous_status);
  };
}
