import type { ClientFrame } from "./frames.js";

interface Waiting {
  message: ClientFrame;
  settle: (sent: boolean) => void;
}

/** Messages that wait for a connection, in order, at most `limit` of them. Each promise says whether its message went out. */
export class Outbox {
  #waiting: Waiting[] = [];

  constructor(readonly limit: number) {}

  add(message: ClientFrame): Promise<boolean> {
    if (this.#waiting.length >= this.limit) return Promise.resolve(false);
    return new Promise((settle) => this.#waiting.push({ message, settle }));
  }

  /** Hands every message to `send`, which tells how it went, now or later. */
  flush(send: (message: ClientFrame) => boolean | Promise<boolean>): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { message, settle } of waiting) void Promise.resolve(send(message)).then(settle);
  }
}
