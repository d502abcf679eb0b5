import type { NewOrder } from "@orderwire/client";

export interface Toast {
  readonly key: number;
  /** The newest of its orders. */
  readonly order: NewOrder;
  /** The number of its orders. */
  readonly count: number;
  /** When its first and its newest order came. */
  readonly firstAt: number;
  readonly newestAt: number;
  readonly expiresAt: number;
}

const TOAST_DURATION_MS = 6_000;
/** A further order joins the toast if the one before came less than this long ago; otherwise it replaces the toast. */
const GROUP_IDLE_MS = 1_500;
/** A toast takes orders for at most this long, so that it ends even while orders keep coming. */
const MAX_GROUP_MS = 30_000;

/** The one toast that is visible, or none: the page reserves room for one. Callers pass the current time in milliseconds. */
export class Toaster {
  /** At most one. */
  toasts: readonly Toast[] = [];
  #nextKey = 1;

  add(order: NewOrder, now: number): void {
    this.expire(now);
    const [last] = this.toasts;
    const joins = last !== undefined && now - last.newestAt < GROUP_IDLE_MS && now - last.firstAt < MAX_GROUP_MS;
    const group = joins ? last : { key: this.#nextKey++, count: 0, firstAt: now };
    this.toasts = [{ ...group, order, count: group.count + 1, newestAt: now, expiresAt: now + TOAST_DURATION_MS }];
  }

  /** Removes the toast if its time is over. Returns whether it was. */
  expire(now: number): boolean {
    const remaining = this.toasts.filter((toast) => toast.expiresAt > now);
    const expired = remaining.length < this.toasts.length;
    if (expired) this.toasts = remaining;
    return expired;
  }

  dismiss(key: number): void {
    this.toasts = this.toasts.filter((toast) => toast.key !== key);
  }

  /** Restarts its time. Called while the user points at it or focuses it. */
  extend(now: number): void {
    this.toasts = this.toasts.map((toast) => ({ ...toast, expiresAt: now + TOAST_DURATION_MS }));
  }
}
