import { vi } from "vitest";
import type { ClientMessage, NewOrder, ServerMessage } from "../src/orderwire.js";

const nextTick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
/** Waits until all pending promises and immediates have run. The tests do not fake `setImmediate`. */
export async function settled(): Promise<void> {
  for (let n = 0; n < 20; n++) await nextTick();
}

export function order(n: number, fields: Partial<NewOrder> = {}): NewOrder {
  return {
    type: "new_order",
    id: `epoch-${700 + n}-${n}`,
    order_id: n,
    key: String(n),
    order_number: `ORD-2024-${n}`,
    customer_name: "Иван Иванов",
    total: "150.50",
    status: "pending",
    at: "2024-05-01T12:00:00.000000Z",
    ...fields,
  };
}

/** The server side of one connection. */
export interface Session {
  url: URL;
  protocols: string[];
  headers: Headers | undefined;
  received: ClientMessage[];
  open: boolean;
  send(message: ServerMessage | object): void;
  close(code: number, reason?: string): void;
  /** SSE only: sends a comment, the server's heartbeat. */
  comment?(): void;
}

/** A server whose answers a test can change. By default it behaves like the real one: totals, resume, live events. */
export class FakeServer {
  sessions: Session[] = [];
  journal: NewOrder[] = [];
  /** Set to reject connections: by a close code before the first message, or by not answering. */
  refuse: number | "silently" | undefined;
  websocketBlocked = false;
  sseAnswer: (() => Response) | undefined;
  greet = (session: Session): void => {
    session.send({ type: "analytics_update", total_orders: this.journal.length, total_revenue: "0", pending_orders: 0 });
  };

  /** The open sessions. */
  get live(): Session[] {
    return this.sessions.filter(({ open }) => open);
  }

  get last(): Session {
    return this.sessions.at(-1)!;
  }

  publish(event: NewOrder): void {
    this.journal.push(event);
    for (const session of this.live) session.send(event);
  }

  /** Closes every connection. */
  drop(code = 1006): void {
    for (const session of this.live) session.close(code);
  }

  install(): void {
    vi.stubGlobal("WebSocket", fakeWebSocket(this));
    vi.stubGlobal("fetch", (url: URL, init: RequestInit) => this.#fetch(url, init));
  }

  accept(session: Session): void {
    this.sessions.push(session);
    if (this.refuse === "silently") return;
    if (this.refuse !== undefined) return session.close(this.refuse);
    session.open = true;
    this.greet(session);
    const cursor = session.url.searchParams.get("last_event_id");
    if (cursor === null) return;
    const at = this.journal.findIndex(({ id }) => id === cursor);
    const missed = at < 0 ? [] : this.journal.slice(at + 1);
    session.send({ type: "resumed", recovered: at >= 0, replayed: missed.length });
    for (const event of missed) session.send(event);
  }

  async #fetch(url: URL, init: RequestInit): Promise<Response> {
    await nextTick();
    init.signal?.throwIfAborted();
    if (this.sseAnswer) return this.sseAnswer();
    let out!: ReadableStreamDefaultController<Uint8Array>;
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (out = controller) });
    const encoder = new TextEncoder();
    const session: Session = {
      url,
      protocols: [],
      headers: new Headers(init.headers),
      received: [],
      open: false,
      send(message) {
        if (session.open) out.enqueue(encoder.encode(`data: ${JSON.stringify(message)}\n\n`));
      },
      close() {
        session.open = false;
        out.close();
      },
      comment: () => out.enqueue(encoder.encode(": ping\n\n")),
    };
    init.signal?.addEventListener("abort", () => {
      session.open = false;
      out.error(new DOMException("aborted", "AbortError"));
    });
    this.accept(session);
    return new Response(body, { headers: { "Content-Type": "text/event-stream; charset=utf-8" } });
  }
}

function fakeWebSocket(server: FakeServer) {
  return class {
    static readonly OPEN = 1;
    onmessage: ((event: { data: string }) => void) | null = null;
    onclose: ((event: { code: number; reason: string }) => void) | null = null;
    readonly #session: Session;
    #left = false;

    constructor(url: URL, protocols: string[] = []) {
      const session: Session = {
        url: new URL(url),
        protocols,
        headers: undefined,
        received: [],
        open: false,
        send: (message) => session.open && void Promise.resolve().then(() => this.onmessage?.({ data: JSON.stringify(message) })),
        close: (code, reason = "") => {
          session.open = false;
          void Promise.resolve().then(() => this.onclose?.({ code, reason }));
        },
      };
      this.#session = session;
      setImmediate(() => {
        if (this.#left) return;
        if (server.websocketBlocked) session.close(1006);
        else server.accept(session);
      });
    }

    get readyState(): number {
      return this.#session.open ? 1 : 3;
    }

    send(text: string): void {
      const message = JSON.parse(text) as ClientMessage;
      this.#session.received.push(message);
      if (message.type === "ping") this.#session.send({ type: "pong" });
    }

    close(code: number): void {
      this.#left = true;
      this.#session.close(code);
    }
  };
}
