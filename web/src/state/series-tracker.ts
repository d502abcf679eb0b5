import { isIncluded, type AnalyticsUpdate, type OrderEvent } from "@orderwire/client";
import type { Api } from "../api.ts";
import type { Period } from "../periods.ts";
import { movementOf, Series, type Movement, type RevenueRule, type SeriesView } from "./series.ts";

/** Movements of so many of the latest events are kept, for responses that are as of an earlier one. */
const MIN_RECENT = 5_000;
/** Removed together, so that few events have to shift the whole array. */
const RECENT_EVICTION_SIZE = 500;
/** How long a response, and what is shown, may differ from the totals: events that one of them includes may be on their way. */
const MAX_MISMATCH_MS = 1_000;
/** Between two requests, unless the user has chosen another period or a new column begins. */
const MIN_INTERVAL_MS = 5_000;
/** While the server counts for the first time. */
const COUNTING_INTERVAL_MS = 1_000;
const RETRY_DELAY_MS = 3_000;

interface Recent {
  id: string;
  /** Undefined: unknown. */
  movement: Movement | undefined;
}

interface Response {
  /** Makes the sums as they came: they are moved anew when they do not agree with the totals yet. */
  build: () => Series;
  position: string;
  receivedAt: number;
}

/**
 * Loads `/api/series`, and keeps it at the point of the feed that the page shows: moves it by each event that the response does not
 * include. Loads it anew when a column begins, after a gap, and when it disagrees with the totals. Times are in milliseconds.
 */
export class SeriesTracker {
  readonly #api: Pick<Api, "series">;
  readonly #onChange: () => void;
  #period: Period;
  #series: Series | null = null;
  /** What the sums were as of when they came. */
  #position = "";
  /** Arrived, and not shown before it agrees with the totals. */
  #response: Response | null = null;
  #recent: Recent[] = [];
  /** Number of the latest request; an older one's response is ignored. */
  #request = 0;
  #requestedAt = -Infinity;
  #loading = false;
  #failed = false;
  /** The server counts the orders, and has no sums yet. */
  #counting = false;
  /** Since when the sums may be wrong. Infinity: they agree with the totals. */
  #staleSince = Infinity;
  /** Events are missing in the sums, so only another response makes them right. */
  #lossy = false;
  /** What the server's clock is ahead of this one. */
  #clockOffset = 0;
  #enabled = false;

  constructor(api: Pick<Api, "series">, period: Period, onChange: () => void) {
    this.#api = api;
    this.#period = period;
    this.#onChange = onChange;
  }

  /** Null while it is loaded or is as it should be. "counting": the server has no sums yet. */
  get problem(): "counting" | "failed" | null {
    return this.#failed ? "failed" : this.#counting ? "counting" : null;
  }

  /** Whether a response waits until it agrees with the totals. */
  get isWaiting(): boolean {
    return this.#response !== null;
  }

  /** Null until it is loaded. `complete` is false also while what is shown may be wrong. */
  view(rule: RevenueRule, now: number): SeriesView | null {
    if (this.#series === null) return null;
    const complete = !this.#counting && now - this.#staleSince < MAX_MISMATCH_MS;
    return this.#series.view(rule, complete);
  }

  /** Loads the sums, and from now on loads them anew whenever that is needed. */
  start(): void {
    if (this.#enabled) return;
    this.#enabled = true;
    void this.#fetch();
  }

  showPeriod(period: Period): void {
    if (period === this.#period) return;
    this.#period = period;
    if (this.#enabled) void this.#fetch();
  }

  /** Events may have been missed. */
  gap(): void {
    this.#markLossy(-Infinity);
    this.#recent = [];
    if (this.#enabled) void this.#fetch();
  }

  apply(event: OrderEvent, now: number): void {
    const movement = movementOf(event);
    this.#recent.push({ id: event.id, movement });
    if (this.#recent.length >= MIN_RECENT + RECENT_EVICTION_SIZE) this.#recent.splice(0, RECENT_EVICTION_SIZE);
    if (this.#series === null || isIncluded(event.id, this.#position)) return;
    if (movement === undefined) this.#markLossy(now);
    else this.#series.move(movement);
  }

  #markLossy(now: number): void {
    this.#lossy = true;
    this.#staleSince = Math.min(this.#staleSince, now);
  }

  /** All events that have been received are applied, and counted in these totals. */
  settle(totals: AnalyticsUpdate | null, now: number): void {
    if (this.#response !== null) this.#adopt(this.#response, totals, now);
    if (this.#series === null || totals === null || this.#loading) return;
    if (this.#series.orders !== totals.total_orders) this.#staleSince = Math.min(this.#staleSince, now);
    else if (!this.#lossy) this.#staleSince = Infinity;
  }

  /** To be called about every half second. */
  tick(now: number): void {
    if (!this.#enabled) return;
    const begun = this.#series?.advance(now + this.#clockOffset) ?? false;
    if (begun) this.#onChange();
    if (this.#loading) return;
    const wait = this.#failed ? RETRY_DELAY_MS : this.#counting ? COUNTING_INTERVAL_MS : MIN_INTERVAL_MS;
    const isDue = begun || this.#failed || this.#counting || now - this.#staleSince >= MAX_MISMATCH_MS;
    if (isDue && (begun || now - this.#requestedAt >= wait)) void this.#fetch();
  }

  async #fetch(): Promise<void> {
    const request = ++this.#request;
    this.#loading = true;
    this.#requestedAt = Date.now();
    try {
      const response = await this.#api.series(this.#period);
      if (request !== this.#request) return;
      this.#failed = false;
      const now = Date.now();
      if (!Number.isNaN(response.now)) this.#clockOffset = response.now - now;
      const { position } = response;
      this.#counting = position === null;
      if (position !== null) this.#response = { build: () => new Series(response), position, receivedAt: now };
    } catch {
      if (request !== this.#request) return;
      this.#failed = true;
    }
    this.#loading = false;
    this.#onChange();
  }

  /** Shows the response once it agrees with the totals; if it does not for long, all the same. */
  #adopt({ build, position, receivedAt }: Response, totals: AnalyticsUpdate | null, now: number): void {
    const series = build();
    let exact = true;
    for (const { id, movement } of this.#recent) {
      if (isIncluded(id, position)) continue; // in this response already
      if (movement === undefined) exact = false;
      else series.move(movement);
    }
    const agrees = exact && (totals === null || series.orders === totals.total_orders);
    if (!agrees && now - receivedAt < MAX_MISMATCH_MS) return;
    series.advance(now + this.#clockOffset);
    this.#series = series;
    this.#position = position;
    this.#response = null;
    this.#lossy = !exact;
    this.#staleSince = agrees ? Infinity : now;
  }
}
