import { playSound } from "./alerts.ts";
import { isSoundBlocked, onSoundAllowed } from "./sound.ts";

export interface AlarmSnapshot {
  /** New orders that the user has not acknowledged. */
  readonly count: number;
  /** The browser plays no sound until the user has clicked, or pressed a key, on the page. */
  readonly isBlocked: boolean;
}

/** What makes the sound; tests replace it. */
export interface Sound {
  play: () => void;
  isBlocked: () => boolean;
  /** Calls the listener when the browser begins to allow sound; returns a function that unsubscribes. */
  onAllowed: (listener: () => void) => () => void;
}

const INTERVAL_MS = 3_000;

const browserSound: Sound = { play: playSound, isBlocked: isSoundBlocked, onAllowed: onSoundAllowed };

/** A sound that is repeated from the first new order until the user acknowledges it. */
export class Alarm {
  readonly #sound: Sound;
  readonly #listeners = new Set<() => void>();
  #snapshot: AlarmSnapshot = { count: 0, isBlocked: false };
  #timer: ReturnType<typeof setInterval> | undefined;
  #enabled = false;
  #stop = (): void => {};

  constructor(sound: Sound = browserSound) {
    this.#sound = sound;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
  readonly getSnapshot = (): AlarmSnapshot => this.#snapshot;

  enable(): void {
    if (this.#enabled) return;
    this.#enabled = true;
    if (!this.#sound.isBlocked()) return;
    this.#update({ isBlocked: true });
    this.#stop = this.#sound.onAllowed(() => {
      this.#update({ isBlocked: false });
      if (this.#timer !== undefined) this.#sound.play();
    });
  }

  disable(): void {
    this.#enabled = false;
    this.#stop();
    this.acknowledge();
    this.#update({ isBlocked: false });
  }

  /** Called for each new order. */
  ring(): void {
    if (!this.#enabled) return;
    this.#update({ count: this.#snapshot.count + 1 });
    if (this.#timer !== undefined) return;
    this.#play();
    this.#timer = setInterval(() => this.#play(), INTERVAL_MS);
  }

  acknowledge(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#snapshot.count > 0) this.#update({ count: 0 });
  }

  #play(): void {
    if (!this.#snapshot.isBlocked) this.#sound.play();
  }

  #update(change: Partial<AlarmSnapshot>): void {
    const next = { ...this.#snapshot, ...change };
    if (next.count === this.#snapshot.count && next.isBlocked === this.#snapshot.isBlocked) return;
    this.#snapshot = next;
    for (const listener of [...this.#listeners]) listener();
  }
}
