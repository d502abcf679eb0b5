import type { ClientMessage } from "./messages.js";

interface QueuedMessage {
  message: ClientMessage;
  resolve: (sent: boolean | Promise<boolean>) => void;
}

/** A bounded FIFO queue of the messages that wait for a connection. Each promise resolves to whether its message was sent. */
export class SendQueue {
  #queue: QueuedMessage[] = [];

  constructor(readonly limit: number) {}

  async add(message: ClientMessage): Promise<boolean> {
    if (this.#queue.length >= this.limit) return false;
    return new Promise((resolve) => this.#queue.push({ message, resolve }));
  }

  /** Empties the queue. `send` returns whether the message was sent. */
  flush(send: (message: ClientMessage) => boolean | Promise<boolean>): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const { message, resolve } of queue) resolve(send(message));
  }
}
