import { vi } from "vitest";
import type { ClientFrame, NewOrder, ServerFrame } from "../src/orderwire.js";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
/** Until everything that was set off has happened. Fake timers leave `setImmediate` alone here. */
export async function settled(): Promise<void> {
  for (let n = 0; n < 20; n++) await turn();
}

export function order(n: number, fields: Partial<NewOrder> = {}): NewOrder {
  return {
    type: "new_order",
    id: `epoch-${700 + n}-${n}`,
    order_id: n,
    order_number: `ORD-2024-${n}`,
    customer_name: "Иван Иванов",
    total: "150.50",
    status: "pending",
    at: "2024-05-01T12:00:00.000000Z",
    ...fields,
  };
}

/** The server's end of one connection. */
export interface Session {
  url: URL;
  protocols: string[];
  headers: Headers | undefined;
  received: ClientFrame[];
  open: boolean;
  send(frame: ServerFrame | object): void;
  close(code: number, reason?: string): void;
  /** Of an event stream: a comment, as the server sends it for a heartbeat. */
  comment?(): void;
}

/** A server whose every answer a test can choose. Left alone it does what the real one does: totals, resume, live events. */
export class FakeServer {
  sessions: Session[] = [];
  journal: NewOrder[] = [];
  /** Set to answer otherwise: a close code before the first frame, or silence. */
  refuse: number | "silently" | undefined;
  websocketBlocked = false;
  sseAnswer: (() => Response) | undefined;
  greet = (session: Session): void => {
    session.send({ type: "analytics_update", total_orders: this.journal.length, total_revenue: "0", pending_orders: 0 });
  };

  /** Those that are open. */
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

  enter(session: Session): void {
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
    await turn();
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
      send(frame) {
        if (session.open) out.enqueue(encoder.encode(`data: ${JSON.stringify(frame)}\n\n`));
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
    this.enter(session);
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
        send: (frame) => session.open && void Promise.resolve().then(() => this.onmessage?.({ data: JSON.stringify(frame) })),
        close: (code, reason = "") => {
          session.open = false;
          void Promise.resolve().then(() => this.onclose?.({ code, reason }));
        },
      };
      this.#session = session;
      setImmediate(() => {
        if (this.#left) return;
        if (server.websocketBlocked) session.close(1006);
        else server.enter(session);
      });
    }

    get readyState(): number {
      return this.#session.open ? 1 : 3;
    }

    send(text: string): void {
      const frame = JSON.parse(text) as ClientFrame;
      this.#session.received.push(frame);
      if (frame.type === "ping") this.#session.send({ type: "pong" });
    }

    close(code: number): void {
      this.#left = true;
      this.#session.close(code);
    }
  };
}
