import type { NewOrder, OrderDelete, OrderStatusUpdate, ServerMessage, WebSocketService } from "@orderwire/client";
import type { OrderRow } from "../src/api.ts";

/** The part of WebSocketService that the state of the views uses. `emit` calls its listeners. */
export class FakeFeed {
  lastEventId: string | undefined;
  connected = true;
  readonly #listeners = new Map<string, Set<(value: never) => void>>();

  readonly onMessage = (listener: (message: ServerMessage) => void) => this.#add("message", listener);
  readonly onConnect = (listener: () => void) => this.#add("connect", listener);
  readonly onGap = (listener: () => void) => this.#add("gap", listener);
  readonly isConnected = () => this.connected;

  get service(): WebSocketService {
    return this as unknown as WebSocketService;
  }

  get listeners(): number {
    return [...this.#listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }

  emit(name: "message" | "connect" | "gap", value?: ServerMessage): void {
    for (const listener of this.#listeners.get(name) ?? []) (listener as (value?: unknown) => void)(value);
  }

  #add(name: string, listener: (value: never) => void): () => void {
    const known = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, known.add(listener));
    return () => void known.delete(listener);
  }
}

const AT = "2026-01-02T03:04:05Z";

export function row(key: number, fields: Partial<OrderRow> = {}): OrderRow {
  return { id: key, key: String(key), order_number: `N${key}`, customer_name: "Bo", total: "5.00", status: "pending", created_at: AT, ...fields };
}

/** `n`: the number of the event's id. */
export function created(key: number, n: number, fields: Partial<NewOrder> = {}): NewOrder {
  return { ...base(key, n), type: "new_order", customer_name: "Bo", total: "5.00", status: "pending", ...fields };
}

export function moved(key: number, n: number, from: string, to: string, fields: Partial<OrderStatusUpdate> = {}): OrderStatusUpdate {
  return { ...base(key, n), type: "order_status_update", previous_status: from, status: to, ...fields };
}

export function deleted(key: number, n: number, fields: Partial<OrderDelete> = {}): OrderDelete {
  return { ...base(key, n), type: "order_delete", ...fields };
}

function base(key: number, n: number) {
  return { id: `e-1-${n}`, key: String(key), order_id: key, order_number: `N${key}`, at: AT };
}

/** A promise with the functions that settle it. */
export function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (reason: unknown) => void } {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((done, failed) => ([resolve, reject] = [done, failed]));
  return { promise, resolve, reject };
}
