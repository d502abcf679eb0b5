import type { NewOrder } from "@orderwire/client";

export interface Toast {
  readonly key: number;
  /** The newest of its orders. */
  readonly order: NewOrder;
  /** The number of its orders. */
  readonly count: number;
  readonly expiresAt: number;
}

const TOAST_DURATION_MS = 6_000;
/** At most this many toasts of single orders within SINGLE_WINDOW_MS; a further order merges them into a group. */
const MAX_SINGLE_TOASTS = 3;
const SINGLE_WINDOW_MS = 1_500;
/** When a toast of a single order is added, the oldest ones beyond this number are removed. */
const MAX_TOASTS = 4;
/** A group takes further orders until none has come for this long. */
const GROUP_IDLE_MS = 1_500;

/** Decides which toasts are visible. Callers pass the current time in milliseconds. */
export class Toaster {
  toasts: readonly Toast[] = [];
  #nextKey = 1;

  add(order: NewOrder, now: number): void {
    this.expire(now);
    const expiresAt = now + TOAST_DURATION_MS;
    const group = this.toasts.at(-1);
    if (group !== undefined && group.count > 1 && now - (group.expiresAt - TOAST_DURATION_MS) < GROUP_IDLE_MS) {
      this.toasts = [...this.toasts.slice(0, -1), { ...group, order, count: group.count + 1, expiresAt }];
      return;
    }
    const recent = this.toasts.filter((toast) => toast.count === 1 && now - (toast.expiresAt - TOAST_DURATION_MS) < SINGLE_WINDOW_MS);
    if (recent.length < MAX_SINGLE_TOASTS) {
      this.toasts = [...this.toasts, { key: this.#nextKey++, order, count: 1, expiresAt }].slice(-MAX_TOASTS);
      return;
    }
    const others = this.toasts.filter((toast) => !recent.includes(toast));
    this.toasts = [...others, { key: this.#nextKey++, order, count: recent.length + 1, expiresAt }];
  }

  /** Removes expired toasts. Returns whether there were any. */
  expire(now: number): boolean {
    const remaining = this.toasts.filter((toast) => toast.expiresAt > now);
    const expired = remaining.length < this.toasts.length;
    if (expired) this.toasts = remaining;
    return expired;
  }

  dismiss(key: number): void {
    this.toasts = this.toasts.filter((toast) => toast.key !== key);
  }

  /** Restarts the time of all toasts. Called while the user points at them or focuses them. */
  extend(now: number): void {
    this.toasts = this.toasts.map((toast) => ({ ...toast, expiresAt: now + TOAST_DURATION_MS }));
  }
}
