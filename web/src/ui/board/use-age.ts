import { useCallback, useSyncExternalStore } from "react";

export type AgeLevel = "fresh" | "late" | "very-late";

const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

/** One timer for all cards. */
function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    for (const each of [...listeners]) each();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** The age in milliseconds, as `shownAge` cuts it: it changes a card once a second in its first minute, and then once a minute. */
export function useAge(createdMs: number): number {
  return useSyncExternalStore(
    subscribe,
    useCallback(() => shownAge(createdMs, Date.now()), [createdMs]),
  );
}

/** The age in milliseconds, cut to what is shown: seconds below a minute, else minutes. */
export function shownAge(createdMs: number, now: number): number {
  const age = Math.max(0, now - createdMs);
  const unit = age < 60_000 ? 1_000 : 60_000;
  return Math.floor(age / unit) * unit;
}

export function ageLevel(ageMs: number, { late, veryLate }: { late: number; veryLate: number }): AgeLevel {
  const minutes = ageMs / 60_000; // NaN is fresh
  return minutes >= veryLate ? "very-late" : minutes >= late ? "late" : "fresh";
}
