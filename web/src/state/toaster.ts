import type { NewOrder } from "@orderwire/client";

export interface Toast {
  readonly key: number;
  /** The newest order that it tells of. */
  readonly order: NewOrder;
  /** Of how many it tells. */
  readonly count: number;
  readonly until: number;
}

const SHOWN_MS = 6_000;
/** So many toasts of their own within this time; what comes on top is told by one toast together. */
const MOST_SINGLE = 3;
const SINGLE_WITHIN_MS = 1_500;
/** More would hide the page; the oldest makes room. */
const MOST_TOASTS = 4;
/** A group goes on growing while its orders come this fast. */
const QUIET_MS = 1_500;

/** Which toasts are to be seen. Knows no clock: the time is told. */
export class Toaster {
  toasts: readonly Toast[] = [];
  #next = 1;

  add(order: NewOrder, now: number): void {
    this.expire(now);
    const until = now + SHOWN_MS;
    const group = this.toasts.at(-1);
    if (group !== undefined && group.count > 1 && now - (group.until - SHOWN_MS) < QUIET_MS) {
      this.toasts = [...this.toasts.slice(0, -1), { ...group, order, count: group.count + 1, until }];
      return;
    }
    const recent = this.toasts.filter((toast) => toast.count === 1 && now - (toast.until - SHOWN_MS) < SINGLE_WITHIN_MS);
    if (recent.length < MOST_SINGLE) {
      this.toasts = [...this.toasts, { key: this.#next++, order, count: 1, until }].slice(-MOST_TOASTS);
      return;
    }
    const others = this.toasts.filter((toast) => !recent.includes(toast));
    this.toasts = [...others, { key: this.#next++, order, count: recent.length + 1, until }];
  }

  /** Take away what has been there long enough. True when something went. */
  expire(now: number): boolean {
    const left = this.toasts.filter((toast) => toast.until > now);
    const gone = left.length < this.toasts.length;
    if (gone) this.toasts = left;
    return gone;
  }

  dismiss(key: number): void {
    this.toasts = this.toasts.filter((toast) => toast.key !== key);
  }

  /** The reader has been at them (pointer, keyboard): they stay for a whole time more. */
  renew(now: number): void {
    this.toasts = this.toasts.map((toast) => ({ ...toast, until: now + SHOWN_MS }));
  }
}
