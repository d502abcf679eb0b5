import { playSound } from "./alerts.ts";
import { ExternalStore } from "./external-store.ts";
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
export class Alarm extends ExternalStore<AlarmSnapshot> {
  readonly #sound: Sound;
  protected override snapshot: AlarmSnapshot = { count: 0, isBlocked: false };
  #timer: ReturnType<typeof setInterval> | undefined;
  #enabled = false;
  #stop = (): void => {};

  constructor(sound: Sound = browserSound) {
    super();
    this.#sound = sound;
  }

  /** Rings at once if orders of before a pause are not acknowledged. */
  enable(): void {
    if (this.#enabled) return;
    this.#enabled = true;
    if (this.#sound.isBlocked()) {
      this.update({ isBlocked: true });
      this.#stop = this.#sound.onAllowed(() => {
        this.update({ isBlocked: false });
        if (this.#timer !== undefined) this.#sound.play();
      });
    }
    if (this.snapshot.count > 0) this.#start();
  }

  /** Be silent, and count no new orders, until `enable`; what is not acknowledged stays so. */
  pause(): void {
    this.#enabled = false;
    this.#stop();
    this.#silence();
    this.update({ isBlocked: false });
  }

  disable(): void {
    this.pause();
    this.acknowledge();
  }

  /** Called for each new order. */
  ring(): void {
    if (!this.#enabled) return;
    this.update({ count: this.snapshot.count + 1 });
    this.#start();
  }

  acknowledge(): void {
    this.#silence();
    if (this.snapshot.count > 0) this.update({ count: 0 });
  }

  #start(): void {
    if (this.#timer !== undefined) return;
    this.#play();
    this.#timer = setInterval(() => this.#play(), INTERVAL_MS);
  }

  #silence(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #play(): void {
    if (!this.snapshot.isBlocked) this.#sound.play();
  }

  protected override update(change: Partial<AlarmSnapshot>): void {
    const { count, isBlocked } = { ...this.snapshot, ...change };
    if (count !== this.snapshot.count || isBlocked !== this.snapshot.isBlocked) super.update(change);
  }
}
