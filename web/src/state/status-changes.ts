import { isNewer, type OrderEvent, type WebSocketService } from "@orderwire/client";
import { ApiError, type Api, type StatusPatch } from "../api.ts";
import { ExternalStore } from "../external-store.ts";
import { normalizedStatus } from "../status.ts";
import type { ChangedOrder, Notice, Outcome, StatusChange, StatusChangesSnapshot } from "./status-change.ts";

/** The change of one order, mutable. */
interface Step extends ChangedOrder {
  readonly to: string;
  /** Id of the event to reverse. */
  readonly undo: string | undefined;
  state: StatusChange["state"];
  /** Of the change, from the answer or from the event. */
  eventId: string | null;
  /** The order as it is shown has the change, or a later one. */
  eventSeen: boolean;
  outcome: Outcome | null;
  /** How often an order of unknown outcome was found unchanged. */
  foundUnchanged: number;
  done: () => void;
}

interface Action {
  readonly key: number;
  readonly to: string;
  readonly isUndo: boolean;
  readonly already: number;
  readonly steps: readonly Step[];
  canUndo: boolean;
}

const FRESH = { state: "waiting", eventId: null, eventSeen: false, outcome: null, foundUnchanged: 0, done: () => {} } as const;

type Service = Pick<WebSocketService, "onConnect" | "onGap">;

/** The server takes the requests of one address at a limited rate. */
const MAX_CONCURRENT = 4;
const UNDO_MS = 5_000;
const MAX_NOTICES = 4;
/** How long to wait before an order of unknown outcome is fetched again. */
const CHECK_INTERVAL_MS = 2_000;
/** A request that was not answered may still be carried out: only at the second look the order counts as unchanged. */
const UNCHANGED_LOOKS = 2;
const MAX_RATE_RETRIES = 20;
const DEFAULT_RETRY_MS = 1_000;

/**
 * Changes the status of orders. A change is shown at once, and taken back if the server does not carry it out. Each order is changed by
 * a request of its own, which names the status that the user saw: the server refuses it if another change came first.
 */
export class StatusChanges extends ExternalStore<StatusChangesSnapshot> {
  readonly #api: Pick<Api, "changeStatus" | "order">;
  readonly #steps = new Map<string, Step>();
  #actions: Action[] = [];
  #nextKey = 1;
  protected override snapshot: StatusChangesSnapshot = { changes: new Map(), notices: [] };
  #publishScheduled = false;

  constructor(service: Service, api: Pick<Api, "changeStatus" | "order">) {
    super();
    this.#api = api;
    service.onConnect(() => {
      for (const step of this.#steps.values()) if (step.state === "unknown") void this.#find(step);
    });
    // The events of these changes may never come; the orders are fetched anew.
    service.onGap(() => {
      for (const [key, step] of this.#steps) if (step.state === "changed") this.#steps.delete(key);
      this.#schedulePublish();
    });
  }

  /**
   * Orders that have the status already, or whose last change has no outcome yet, are left alone; the notice counts the former. Resolves
   * when all are done with.
   */
  async change(orders: readonly ChangedOrder[], to: string): Promise<void> {
    await this.#run(orders.map((order) => ({ ...order, to, undo: undefined })), to, false);
  }

  /** Reverses what an action has changed. */
  async undo(noticeKey: number): Promise<void> {
    const action = this.#actions.find(({ key }) => key === noticeKey);
    if (action === undefined || !action.canUndo) return;
    const reversed = action.steps.filter(({ outcome }) => outcome?.kind === "changed" && outcome.id !== null);
    this.dismiss(noticeKey);
    const wanted = reversed.map((step) => ({ ...step, status: step.to, to: step.status, undo: step.eventId ?? undefined }));
    await this.#run(wanted, wanted[0]?.to ?? "", true);
  }

  dismiss(noticeKey: number): void {
    this.#actions = this.#actions.filter(({ key }) => key !== noticeKey);
    this.#schedulePublish();
  }

  async #run(wanted: readonly (ChangedOrder & { to: string; undo: string | undefined })[], to: string, isUndo: boolean): Promise<void> {
    const steps = wanted
      .filter(({ key, status, to }) => status !== to && (this.#steps.get(key)?.state ?? "changed") === "changed")
      .map(({ key, number, status, to, undo }): Step => {
        return { key, number, status, to, undo, ...FRESH };
      });
    if (steps.length === 0) return;
    const already = wanted.filter((order) => order.status === order.to).length;
    const action: Action = { key: this.#nextKey++, to, isUndo, already, steps, canUndo: false };
    this.#actions = [...this.#actions, action].slice(-MAX_NOTICES);
    for (const step of steps) this.#steps.set(step.key, step);
    this.#schedulePublish();
    const queue = [...steps];
    let answered = true;
    const work = async () => {
      for (let step = queue.shift(); step !== undefined; step = queue.shift()) {
        if (!answered) this.#settle(step, { kind: "unchanged" });
        else answered = (await this.#send(step)) && answered;
      }
    };
    await Promise.all(Array.from({ length: MAX_CONCURRENT }, work));
    await Promise.all(steps.map((step) => step.outcome === null && new Promise<void>((resolve) => (step.done = resolve))));
    this.#offerUndo(action);
  }

  #offerUndo(action: Action): void {
    const changed = action.steps.filter(({ outcome }) => outcome?.kind === "changed");
    action.canUndo = !action.isUndo && changed.some(({ eventId }) => eventId !== null);
    const isGood = changed.length === action.steps.length;
    setTimeout(() => {
      action.canUndo = false;
      if (isGood) this.dismiss(action.key); // problems stay until the user has read them
      else this.#schedulePublish();
    }, UNDO_MS);
    this.#schedulePublish();
  }

  /** Returns whether the server has answered. */
  async #send(step: Step): Promise<boolean> {
    step.state = "sent";
    const { key, to } = step;
    const change: StatusPatch = { status: to, from: step.status };
    if (step.undo !== undefined) change.undo = step.undo;
    for (let attempt = 0; ; attempt++) {
      try {
        const { id } = await this.#api.changeStatus(key, change);
        this.#settle(step, { kind: "changed", id });
        return true;
      } catch (error) {
        const status = error instanceof ApiError ? error.status : 0;
        if (status === 429 && attempt < MAX_RATE_RETRIES) {
          await new Promise((resolve) => setTimeout(resolve, (error as ApiError).retryAfterMs ?? DEFAULT_RETRY_MS));
        } else if (change.undo !== undefined && error instanceof ApiError && error.details.reason === "undo") {
          // Too late to take it back, as after a change of many orders: then it is a change like every other.
          delete change.undo;
        } else if (status >= 400 && status < 500) {
          this.#settle(step, refusal(error as ApiError));
          return true;
        } else {
          // Neither carried out nor refused, as far as is known here: the server may have ended before or after the change.
          this.#doubt(step);
          return false;
        }
      }
    }
  }

  #doubt(step: Step): void {
    if (step.eventId !== null) return this.#settle(step, { kind: "changed", id: step.eventId });
    step.state = "unknown";
    this.#schedulePublish();
    this.#findLater(step);
  }

  #findLater(step: Step): void {
    setTimeout(() => void this.#find(step), CHECK_INTERVAL_MS);
  }

  /** Looks at the order, since its event may have been missed, or may never come because nothing was changed. */
  async #find(step: Step): Promise<void> {
    if (step.outcome !== null) return;
    let found: string;
    try {
      found = normalizedStatus((await this.#api.order(step.key)).status);
    } catch (error) {
      if (step.outcome !== null) return;
      if (error instanceof ApiError && error.status === 404) this.#settle(step, { kind: "gone" });
      else this.#findLater(step);
      return;
    }
    if (step.outcome !== null) return; // the event came meanwhile
    if (found === step.to) this.#settle(step, { kind: "changed", id: null });
    else if (found !== step.status) this.#settle(step, { kind: "faster", status: found, actor: null });
    else if (++step.foundUnchanged >= UNCHANGED_LOOKS) this.#settle(step, { kind: "unchanged" });
    else this.#findLater(step);
  }

  #settle(step: Step, outcome: Outcome): void {
    const hasEvent = outcome.kind === "changed" && (outcome.id !== null || step.state === "unknown");
    step.outcome = outcome;
    if (hasEvent && !step.eventSeen) {
      // The event is still to come: until then the order is shown as changed.
      step.eventId = outcome.id;
      step.state = "changed";
    } else if (this.#steps.get(step.key) === step) this.#steps.delete(step.key);
    step.done();
    this.#schedulePublish();
  }

  /** To be called when the orders that are shown have the event. */
  apply(event: OrderEvent): void {
    const step = this.#steps.get(event.key);
    if (step === undefined) return;
    if (step.state === "changed") {
      // Its own event, or a later one.
      if (step.eventId !== null && isNewer(step.eventId, event.id)) return;
      this.#steps.delete(event.key);
    } else if (isEventOf(step, event)) {
      step.eventId = event.id;
      step.eventSeen = true;
      if (step.state === "unknown") this.#settle(step, { kind: "changed", id: event.id });
      else this.#steps.delete(event.key); // the answer is still to come
    } else if (step.state === "unknown") {
      this.#settleByOther(step, event);
    }
    this.#schedulePublish();
  }

  #settleByOther(step: Step, event: OrderEvent): void {
    step.eventSeen = true;
    if (event.type === "order_delete") this.#settle(step, { kind: "gone" });
    else if (event.type === "order_status_update") {
      const status = normalizedStatus(event.status);
      // A change that begins at the wanted status shows that it was reached.
      const wasReached = normalizedStatus(event.previous_status) === step.to;
      this.#settle(step, wasReached ? { kind: "changed", id: null } : { kind: "faster", status, actor: event.actor ?? null });
    }
  }

  #schedulePublish(): void {
    if (this.#publishScheduled) return;
    this.#publishScheduled = true;
    queueMicrotask(() => {
      this.#publishScheduled = false;
      const changes = new Map<string, StatusChange>();
      for (const [key, { number, status, to, state }] of this.#steps) changes.set(key, { key, number, from: status, to, state });
      this.update({ changes, notices: this.#actions.map(noticeOf) });
    });
  }
}

function isEventOf(step: Step, event: OrderEvent): boolean {
  if (event.type !== "order_status_update") return false;
  return normalizedStatus(event.previous_status) === step.status && normalizedStatus(event.status) === step.to;
}

function refusal({ status, details, message }: ApiError): Outcome {
  if (status === 409 && details.status !== undefined) {
    return { kind: "faster", status: normalizedStatus(details.status), actor: details.actor ?? null };
  }
  return status === 404 ? { kind: "gone" } : { kind: "refused", reason: details.reason ?? null, message };
}

function noticeOf({ key, to, isUndo, already, steps, canUndo }: Action): Notice {
  const outcomes = steps.map(({ outcome }) => outcome).filter((outcome) => outcome !== null);
  const unknown = steps.filter(({ state, outcome }) => outcome === null && state === "unknown").length;
  return { key, to, isUndo, numbers: steps.map(({ number }) => number), already, unknown, outcomes, canUndo };
}
