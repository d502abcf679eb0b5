import type { ClientMessage } from "./messages.js";

interface QueuedMessage {
  message: ClientMessage;
  resolve: (sent: boolean) => void;
}

/** A bounded FIFO queue of the messages that wait for a connection. Each promise resolves to whether its message was sent. */
export class SendQueue {
  #queue: QueuedMessage[] = [];

  constructor(readonly limit: number) {}

  add(message: ClientMessage): Promise<boolean> {
    if (this.#queue.length >= this.limit) return Promise.resolve(false);
    return new Promise((resolve) => this.#queue.push({ message, resolve }));
  }

  /** Empties the queue. `send` returns whether the message was sent. */
  flush(send: (message: ClientMessage) => boolean | Promise<boolean>): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const { message, resolve } of queue) void Promise.resolve(send(message)).then(resolve);
  }
}
