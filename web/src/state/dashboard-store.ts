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
import type { Period } from "../periods.ts";
import { ExternalStore } from "../external-store.ts";
import { getToken } from "../token.ts";
import { changesTotalsOf, FeedGate, type FeedStep } from "./feed-gate.ts";
import { onMissedEvents } from "./missed-events.ts";
import { OrderList } from "./order-list.ts";
import { OrderSearch } from "./order-search.ts";
import { OrdersLoader } from "./orders-loader.ts";
import { RenderScheduler } from "./render-scheduler.ts";
import { SeriesTracker } from "./series-tracker.ts";
import type { RevenueRule, SeriesView } from "./series.ts";
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

/** What the server lets the user see. "sign-in": nothing without a token. "own": a customer's orders. */
export type Access = "checking" | "sign-in" | "everything" | "totals" | "own";

/** Why the server wants a token, or another one. "required": none was sent. "no-role": it is good, and may see nothing here. */
export type SignInReason = "required" | "rejected" | "expired" | "no-role" | "unreachable";

export interface SignInRequest {
  readonly reason: SignInReason;
  /** Where people sign in, if the server has such a page. */
  readonly loginUrl: string | null;
}

/** Everything in it, and the orders of the same moment, belong to one point of the feed. */
export interface DashboardSnapshot {
  readonly access: Access;
  /** Not null: the user has to sign in. Unless `access` is "sign-in" too, the page stays as it is below the request. */
  readonly signIn: SignInRequest | null;
  readonly ordersState: "loading" | "ready" | "failed";
  /** Empty until it is loaded. */
  readonly meta: Meta;
  readonly totals: AnalyticsUpdate | null;
  /** Orders by time of creation and by status, over the whole table. Null until it is loaded. */
  readonly series: SeriesView | null;
  /** Why there is none, or an old one. */
  readonly seriesProblem: "counting" | "failed" | null;
  /** Newest first. */
  readonly events: readonly DashboardEvent[];
  readonly toasts: readonly Toast[];
  /** Changes with every change of the orders and of what a search has found, which are not part of the snapshot. */
  readonly version: number;
}

const MAX_EVENTS = 200;
const TICK_MS = 500;
/** A close code of docs/reference/protocol.md. */
const TOKEN_EXPIRED = 3005;

/** What the role of the token sees. */
function accessOf({ role }: Meta): Access {
  return role === "viewer" ? "totals" : role === "customer" ? "own" : "everything";
}

/** An external store for React. Applies messages in steps (see FeedGate), and publishes snapshots at a limited rate. */
export class DashboardStore extends ExternalStore<DashboardSnapshot> {
  readonly orders = new OrderList();
  readonly search: OrderSearch;
  readonly statusChanges: StatusChanges;
  /** For views that follow events and fetch orders themselves. */
  readonly service: WebSocketService;
  readonly api: Api;
  readonly #onNewOrder: (order: NewOrder) => void;
  readonly #toaster = new Toaster();
  readonly #renders = new RenderScheduler(() => this.#render());
  readonly #loader: OrdersLoader;
  readonly #series: SeriesTracker;
  #gate = new FeedGate(() => true);
  #gateTimer: ReturnType<typeof setTimeout> | undefined;
  /** The gate's deadline for which the timer is set. */
  #watchedDeadline = Infinity;
  /** To be run when the gate is empty. */
  #waiting: (() => void)[] = [];
  protected override snapshot: DashboardSnapshot;
  #access: Access = "checking";
  #signIn: SignInRequest | null = null;
  #totals: AnalyticsUpdate | null = null;
  #rule: RevenueRule;
  /** Oldest first. Shortened to MAX_EVENTS when it has twice as many. */
  #events: DashboardEvent[] = [];
  #wasConnected = false;
  #lastMessageAt: number | null = null;

  /** `mainCurrency` in capital letters. */
  constructor(
    service: WebSocketService,
    api: Api,
    onNewOrder: (order: NewOrder) => void,
    { mainCurrency = "PLN", period = "1h" as Period } = {},
  ) {
    super();
    this.service = service;
    this.api = api;
    this.#onNewOrder = onNewOrder;
    this.#rule = { cancelled: new Set(), mainCurrency };
    const onChange = () => this.#renders.schedule();
    const whenSettled = (run: () => void) => this.#whenSettled(run);
    this.#loader = new OrdersLoader(this.orders, api, () => service.isConnected(), whenSettled, () => this.#handleOrdersLoaded());
    this.#series = new SeriesTracker(api, period, () => this.#settleSeries());
    this.search = new OrderSearch(api, this.orders, onChange);
    this.statusChanges = new StatusChanges(service, api);
    this.snapshot = this.#createSnapshot(0);
    service.onMessage((message) => this.#handleMessage(message));
    service.onConnect(() => this.#handleConnect());
    service.onGap(() => this.#addGapMarker());
    onMissedEvents(service, () => this.#loader.state !== "ready", () => this.#reload());
    service.onStatus((status) => {
      if (status.state === "closed" && status.terminal) void this.checkAccess();
    });
    service.onDisconnect(({ code }) => {
      // A token that the user has entered cannot be renewed: ask for another.
      if (code === TOKEN_EXPIRED) void this.checkAccess();
    });
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** When the server has sent something last, in milliseconds since the Unix epoch. */
  get lastMessageAt(): number | null {
    return this.#lastMessageAt;
  }

  /** Finds out over HTTP what the token may see: a browser does not report the status of a rejected WebSocket handshake. */
  async checkAccess(): Promise<void> {
    let access: Access = "everything";
    try {
      const meta = await this.api.meta();
      this.#loader.setMeta(meta);
      access = accessOf(meta);
    } catch (error) {
      if (error instanceof ApiError && (error.status === 401 || error.status === 403)) return this.#requireSignIn(error);
      // The server is unreachable or not ready. The connection is retried, and its status is displayed.
      if (this.#signIn !== null) return this.#setSignIn({ ...this.#signIn, reason: "unreachable" });
      if (this.#access !== "checking") return;
    }
    const wasSignedOut = this.#signIn !== null;
    // What the page shows below the request is not for a token that may see something else.
    if (wasSignedOut && this.#access !== "sign-in" && this.#access !== access) return location.reload();
    if (this.#access === "checking" || wasSignedOut) this.#access = access;
    this.#signIn = null;
    if (wasSignedOut) this.service.connect();
    this.#renders.schedule();
  }

  #requireSignIn({ status, details }: ApiError): void {
    if (this.#access === "checking") this.#access = "sign-in";
    this.service.disconnect();
    // The token is for this tab only. Another tab may have one with other rights, so their connections must not be shared.
    this.service.configure({ share: false });
    const reason = status === 403 ? "no-role" : details.code === "token_expired" ? "expired" : getToken() === null ? "required" : "rejected";
    this.#setSignIn({ reason, loginUrl: details.login_url ?? this.#signIn?.loginUrl ?? null });
  }

  #setSignIn(signIn: SignInRequest): void {
    this.#signIn = signIn;
    this.#renders.schedule();
  }

  async loadOlderOrders(): Promise<void> {
    await this.#loader.loadOlder();
  }

  showPeriod(period: Period): void {
    this.#series.showPeriod(period);
  }

  dismissToast(key: number): void {
    this.#toaster.dismiss(key);
    this.#renders.schedule();
  }

  extendToasts(): void {
    this.#toaster.extend(Date.now());
  }

  #handleConnect(): void {
    const resumes = this.#wasConnected && this.service.lastEventId !== undefined;
    this.#wasConnected = true;
    this.#gate.connected(resumes, Date.now());
    this.#watchGate();
  }

  #addGapMarker(): void {
    const at = new Date().toISOString();
    this.#events.push({ type: "gap", id: `gap-${at}`, at });
  }

  #reload(): void {
    if (this.#access === "totals") return;
    void this.#loader.load();
    this.search.reload();
    this.#series.gap();
  }

  #handleOrdersLoaded(): void {
    const { state, meta, position, rejection } = this.#loader;
    if (rejection !== null) return this.#requireSignIn(rejection);
    if (state === "forbidden") this.#access = "totals";
    if (state === "ready") {
      // Before the first event there is no other cursor: a page that was just opened resumes from what it has loaded.
      if (position !== undefined && this.service.lastEventId === undefined) this.service.configure({ lastEventId: position });
      this.#access = accessOf(meta);
      this.#rule = { ...this.#rule, cancelled: new Set(meta.cancelled) };
      this.#gate.setRule(changesTotalsOf(meta.pending ?? [], meta.cancelled));
      this.search.setTimeZone(meta.time_zone);
      if (this.#access === "everything") this.#series.start();
    }
    this.#renders.schedule();
  }

  #handleMessage(message: ServerMessage): void {
    this.#lastMessageAt = Date.now();
    const step = this.#gate.receive(message, Date.now());
    if (step !== null) this.#apply(step);
    this.#watchGate();
  }

  /** Lets the held events through when the totals do not come. */
  #watchGate(): void {
    const { deadline } = this.#gate;
    if (deadline === this.#watchedDeadline) return;
    this.#watchedDeadline = deadline;
    clearTimeout(this.#gateTimer);
    if (deadline !== Infinity) this.#gateTimer = setTimeout(() => this.#apply(this.#gate.release()), deadline - Date.now());
  }

  #apply({ events, totals }: FeedStep): void {
    this.#watchGate();
    for (const event of events) this.#applyEvent(event);
    if (totals !== null) this.#totals = totals;
    if (this.#gate.isEmpty) {
      for (const run of this.#waiting.splice(0)) run();
      this.#series.settle(this.#totals, Date.now());
    }
    // The server limits the rate of totals.
    if (totals !== null) this.#renders.scheduleNow();
    else this.#renders.schedule();
  }

  #applyEvent(event: OrderEvent | StreamEvent): void {
    this.#events.push(event);
    if (this.#events.length > 2 * MAX_EVENTS) this.#events = this.#events.slice(-MAX_EVENTS);
    if (!isEvent(event) || !isOrderEvent(event)) return;
    this.#series.apply(event, Date.now());
    this.search.apply(event, Date.now());
    if (this.orders.apply(event) === "added" && event.type === "new_order") {
      this.#toaster.add(event, Date.now());
      this.#onNewOrder(event);
    }
    this.statusChanges.apply(event);
  }

  #whenSettled(run: () => void): void {
    if (this.#gate.isEmpty) run();
    else this.#waiting.push(run);
  }

  #settleSeries(): void {
    if (this.#gate.isEmpty) this.#series.settle(this.#totals, Date.now());
    this.#renders.schedule();
  }

  #tick(): void {
    const now = Date.now();
    if (this.#toaster.expire(now)) this.#renders.schedule();
    this.#series.tick(now);
    this.search.tick(now);
    // A response that disagrees with the totals is shown after a while.
    if (this.#series.isWaiting) this.#settleSeries();
  }

  #render(): void {
    this.update(this.#createSnapshot(this.snapshot.version + 1));
  }

  #createSnapshot(version: number): DashboardSnapshot {
    const { state } = this.#loader;
    return {
      access: this.#access,
      signIn: this.#signIn,
      ordersState: state === "ready" || state === "loading" ? state : "failed",
      meta: this.#loader.meta,
      totals: this.#totals,
      series: this.#series.view(this.#rule, Date.now()),
      seriesProblem: this.#series.problem,
      events: this.#events.slice(-MAX_EVENTS).reverse(),
      toasts: this.#toaster.toasts,
      version,
    };
  }
}
