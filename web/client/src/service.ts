import { type Closing, Core, type CoreOptions, type Io, type Signal, type Status } from "./core.js";
import { type AnalyticsUpdate, type ClientFrame, isOrderEvent, type ServerFrame } from "./frames.js";
import { Inbox } from "./inbox.js";
import { type Line, LOST, type Target, TOKEN_EXPIRED } from "./line.js";
import { canShare, type Connection, SharedConnection } from "./shared.js";
import { openSse, openWebSocket } from "./transports.js";

export type GetToken = () => string | null | undefined | Promise<string | null | undefined>;

export interface Options {
  /** Where the server's WebSocket is; Server-Sent Events are looked for beside it. `/api/ws` of the page's own origin. */
  url?: string;
  /** What to hear of; the server's choice by role when left out. */
  topics?: readonly string[];
  /** Asked before each attempt, and when a token is about to run out. */
  getToken?: GetToken;
  /** Retries in a row before giving up: 5. `Infinity` for a page that stays open. */
  maxAttempts?: number;
  /** The first retry comes within this time, each further one within twice that of the one before: 3000. */
  baseDelayMs?: number;
  /** But never later than this: 30000. */
  maxDelayMs?: number;
  /** Between two heartbeats: 30000, as the server's. */
  heartbeatMs?: number;
  /** How many messages may wait for a connection: 100. */
  queueLimit?: number;
  /** Where the first connection resumes: an event's `id`, or the `next` of `/api/events`. */
  lastEventId?: string;
  /**
   * Whether the tabs of a browser share one connection, where the browser can. They must all have the same login; a string that says
   * who is logged in sees to it: only tabs with the same one share.
   */
  share?: boolean | string;
}

type Listener<T> = (value: T) => void;

class Listeners<T> {
  readonly #all = new Set<{ listener: Listener<T> }>();

  add(listener: Listener<T>): () => void {
    const entry = { listener };
    this.#all.add(entry);
    return () => void this.#all.delete(entry);
  }

  tell(value: T): void {
    for (const { listener } of [...this.#all]) {
      try {
        listener(value);
      } catch (error) {
        // One listener's bug is reported like any other, and is no reason to keep the event from the rest.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/** A live connection to an Orderwire server that survives whatever happens to the line. */
export class WebSocketService {
  #options: Options;
  #connection: Connection | undefined;
  #inbox: Inbox;
  #status: Status = { state: "idle" };
  #topics: readonly string[] | undefined;
  #totals: AnalyticsUpdate | undefined;
  #wasOnline = false;
  /** Whether events may be missing between what has been received and where the stream goes on. */
  #blind = false;
  #asked: string | undefined;
  #unlisten: (() => void) | undefined;
  readonly #onMessage = new Listeners<ServerFrame>();
  readonly #onConnect = new Listeners<void>();
  readonly #onDisconnect = new Listeners<Closing>();
  readonly #onStatus = new Listeners<Status>();
  readonly #onGap = new Listeners<void>();

  constructor(options: Options = {}) {
    this.#options = options;
    this.#inbox = new Inbox(options.lastEventId);
  }

  /** For an instance that is ready-made: before it is used, or after `disconnect()`. */
  configure(options: Options): void {
    this.#options = { ...this.#options, ...options };
    if (options.lastEventId !== undefined) this.#inbox.moveTo(options.lastEventId);
  }

  /** Connect and stay connected. While a retry is being waited for: try at once. Else without effect. */
  connect(): void {
    this.#connection ??= this.#build();
    this.#unlisten ??= listenForWake(() => this.#connection?.wake());
    this.#connection?.connect();
  }

  disconnect(): void {
    this.#unlisten?.();
    this.#unlisten = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.disconnect();
  }

  /**
   * True: it was handed to an open connection. False: it never will be, because too many wait, the service was disconnected, it has
   * given up, or the connection is one-way (Server-Sent Events). What is sent while offline goes out in order once online.
   */
  send(message: ClientFrame): Promise<boolean> {
    this.#connection ??= this.#build();
    return this.#connection.send(message);
  }

  /** Every frame, except events that have been told before. */
  onMessage(listener: Listener<ServerFrame>): () => void {
    return this.#onMessage.add(listener);
  }

  /** The server answers; called before its first frame. */
  onConnect(listener: () => void): () => void {
    return this.#onConnect.add(listener);
  }

  /** What was online no longer is. */
  onDisconnect(listener: Listener<Closing>): () => void {
    return this.#onDisconnect.add(listener);
  }

  onStatus(listener: Listener<Status>): () => void {
    return this.#onStatus.add(listener);
  }

  /** Events may have been missed that cannot be replayed: fetch the state anew. */
  onGap(listener: () => void): () => void {
    return this.#onGap.add(listener);
  }

  isConnected(): boolean {
    return this.#status.state === "online";
  }

  get status(): Status {
    return this.#status;
  }

  /** The cursor: where a resume would begin. */
  get lastEventId(): string | undefined {
    return this.#inbox.cursor;
  }

  /** As the server has last told. */
  get topics(): readonly string[] | undefined {
    return this.#topics;
  }

  /** The newest that have come. */
  get totals(): AnalyticsUpdate | undefined {
    return this.#totals;
  }

  #build(): Connection {
    const options = this.#options;
    const core: CoreOptions = {
      topics: options.topics,
      maxAttempts: options.maxAttempts ?? 5,
      baseDelayMs: options.baseDelayMs ?? 3_000,
      maxDelayMs: options.maxDelayMs ?? 30_000,
      heartbeatMs: options.heartbeatMs ?? 30_000,
      queueLimit: options.queueLimit ?? 100,
    };
    const io = { ...browser(options), cursor: () => this.#inbox.cursor };
    const signal = (told: Signal): void => this.#hear(told);
    if (!options.share || !canShare()) return new Core(core, { ...io, signal });
    return new SharedConnection({
      ...core,
      name: JSON.stringify(["orderwire", address(options, "websocket").href, options.topics, options.share]),
      cursor: io.cursor,
      signal,
      core: (lead, topics = core.topics) => new Core({ ...core, topics }, { ...io, signal: lead }),
    });
  }

  #hear(signal: Signal): void {
    switch (signal.kind) {
      case "dial":
        return this.#dialled(signal.cursor);
      case "status":
        return this.#changed(signal.status, signal.closing);
      case "position":
        return this.#inbox.moveTo(signal.cursor);
      case "frame":
        return this.#received(signal.frame);
    }
  }

  /** The stream is going to start at this cursor, or now. */
  #dialled(cursor: string | undefined): void {
    const mine = this.#inbox.cursor;
    if (mine === undefined) {
      this.#blind = cursor === undefined && this.#wasOnline;
      if (cursor !== undefined) this.#inbox.moveTo(cursor);
      return;
    }
    this.#blind = cursor === undefined || !this.#inbox.covers(cursor);
    if (cursor === undefined && this.#asked !== mine) {
      // The tab that leads has seen no event yet. Its answer is to dial anew.
      this.#blind = false;
      this.#asked = mine;
      this.#connection?.resumeFrom(mine);
    }
  }

  #changed(status: Status, closing: Closing = { code: LOST, reason: "the tab that was connected has gone" }): void {
    const before = this.isConnected();
    this.#status = status;
    const now = this.isConnected();
    this.#onStatus.tell(status);
    if (before && !now) this.#onDisconnect.tell(closing);
    if (!now) return;
    this.#wasOnline = true;
    if (!before) this.#onConnect.tell();
    if (this.#blind) this.#onGap.tell();
    this.#blind = false;
  }

  #received(frame: ServerFrame): void {
    if (isOrderEvent(frame) && !this.#inbox.accept(frame.id)) return;
    if (frame.type === "subscribed") this.#topics = frame.topics;
    if (frame.type === "analytics_update") this.#totals = frame;
    const gap = frame.type === "resumed" && !frame.recovered;
    if (gap) this.#inbox.forget();
    this.#onMessage.tell(frame);
    if (gap) this.#onGap.tell();
  }
}

function address(options: Options, transport: Target["transport"]): URL {
  const url = new URL(options.url ?? "/api/ws", globalThis.location?.href);
  if (transport === "websocket") {
    url.protocol = url.protocol.replace("http", "ws");
  } else {
    url.protocol = url.protocol.replace("ws", "http");
    url.pathname = url.pathname.replace(/ws$/, "sse");
  }
  return url;
}

/** The world of a browser. */
function browser(options: Options): Omit<Io, "cursor" | "signal"> {
  const token = async (): Promise<string | null | undefined> => options.getToken?.();
  return {
    now: () => Date.now(),
    random: () => Math.random(),
    timer(ms, run) {
      const handle = setTimeout(run, ms);
      return () => clearTimeout(handle);
    },
    token,
    dial({ transport, cursor, topics }, events) {
      const url = address(options, transport);
      if (cursor !== undefined) url.searchParams.set("last_event_id", cursor);
      if (topics !== undefined) url.searchParams.set("topics", topics.join());
      let line: Line | undefined;
      let left = false;
      void token()
        .then((fresh) => {
          if (!left) line = (transport === "websocket" ? openWebSocket : openSse)(url, fresh, events);
        })
        .catch((error: unknown) => events.closed(TOKEN_EXPIRED, String(error)));
      return {
        write: (text) => !!line?.write(text),
        close() {
          left = true;
          line?.close();
        },
      };
    },
  };
}

/** The network changed, or the page came into view. Where there is no page there is nothing to hear. */
function listenForWake(wake: () => void): () => void {
  const left = new AbortController();
  const { signal } = left;
  for (const name of ["online", "offline"]) globalThis.addEventListener?.(name, wake, { signal });
  globalThis.document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake(), { signal });
  return () => left.abort();
}
