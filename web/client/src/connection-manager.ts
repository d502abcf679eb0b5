import { ABNORMAL_CLOSURE, type Connection, type ConnectionHandlers, type ConnectParams, type Transport } from "./connection.js";
import { type ClientMessage, parseMessage, type ServerMessage } from "./messages.js";
import { SendQueue } from "./send-queue.js";

export type ConnectionStatus =
  /** `connect()` was not called, or `disconnect()` was. */
  | { state: "idle" }
  /** `attempt` is 0 for the first attempt, n for the n-th retry. */
  | { state: "connecting"; attempt: number }
  /**
   * The server's first message has arrived. `live`: false while the server says that no events reach it, as when its database is away.
   * `since`: since when that is so, or has ended; undefined if the server has said nothing of it.
   */
  | { state: "online"; transport: Transport; live: boolean; since?: string | undefined }
  /** The next attempt starts at `retryAt`, in milliseconds since the Unix epoch. */
  | { state: "waiting"; attempt: number; maxAttempts: number; retryAt: number }
  /** No further attempt. `terminal`: the server rejected the client for good; otherwise every attempt failed. */
  | { state: "closed"; code: number; reason: string; terminal: boolean };

export interface CloseInfo {
  code: number;
  reason: string;
}

/** Reported to every tab that uses the connection: to the tab that owns it, and through that tab to the others. */
export type ConnectionUpdate =
  /** A connection is being opened; the server will send what follows `cursor`, or only new events. */
  | { kind: "open"; cursor: string | undefined }
  | { kind: "status"; status: ConnectionStatus; closeInfo?: CloseInfo | undefined }
  | { kind: "cursor"; cursor: string }
  | { kind: "message"; message: ServerMessage };

/** The interface that a `ConnectionManager` has in common with a `SharedConnection`. */
export interface ConnectionControl {
  /** Retries at once if a retry is pending. No effect while connecting or online. */
  connect(): void;
  disconnect(): void;
  /** The network changed, or the page became visible: retries at once, or probes the open connection. */
  checkConnection(): void;
  /** Reconnects, to get a replay from this cursor. No effect while idle or closed. */
  resumeFrom(cursor: string): void;
  /** Resolves to whether the message was handed to an open connection. */
  send(message: ClientMessage): Promise<boolean>;
}

/** Everything outside of the state machine; tests replace it. */
export interface Environment {
  now(): number;
  /** Uniform in [0, 1), like `Math.random`. */
  random(): number;
  /** Runs `callback` once after `ms`; returns a function that cancels it. */
  setTimer(ms: number, callback: () => void): () => void;
  /** Must not call a handler before it returns. */
  open(params: ConnectParams, handlers: ConnectionHandlers): Connection;
  getToken(): Promise<string | null | undefined>;
  getCursor(): string | undefined;
  onUpdate(update: ConnectionUpdate): void;
}

export interface ConnectionManagerOptions {
  topics: readonly string[] | undefined;
  maxAttempts: number;
  baseDelayMs: number;
  maxDelayMs: number;
  heartbeatMs: number;
  queueLimit: number;
}

/** From opening a connection to its first message. Some proxies never answer an upgrade request. */
const FIRST_MESSAGE_TIMEOUT_MS = 10_000;
const PROBE_TIMEOUT_MS = 5_000;
/** The server uses the same number. */
const MAX_MISSED_HEARTBEATS = 2;
/** Consecutive WebSockets that failed to open before Server-Sent Events are tried. */
const MAX_FAILED_WEBSOCKETS = 2;
/** A token is refreshed this long before it expires, or half-way if it lives for less than twice as long. */
const TOKEN_REFRESH_LEAD_MS = 60_000;
const MIN_TOKEN_REFRESH_MS = 10_000;
/** The longest delay of `setTimeout`. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Close codes 3500 to 3999 are terminal (docs/reference/protocol.md), and so are these HTTP statuses. */
export function isTerminal(code: number): boolean {
  return (code >= 3500 && code <= 3999) || [400, 401, 403].includes(code);
}

/** Exponential back-off with full jitter. `attempt` counts from 1. With the defaults at most 3, 6, 12, 24, 30, 30 … seconds. */
export function backoffDelay(attempt: number, baseMs: number, maxMs: number, random: number): number {
  return random * Math.min(maxMs, baseMs * 2 ** (attempt - 1));
}

/** Opens one connection, checks that it is alive, and opens another when it ends. A state machine; all I/O goes through `Environment`. */
export class ConnectionManager implements ConnectionControl {
  #status: ConnectionStatus = { state: "idle" };
  #connection: Connection | undefined;
  #transport: Transport = "websocket";
  #attempt = 0;
  #failedWebSockets = 0;
  /** Server-Sent Events have worked since the last WebSocket: if that does not open now, it is blocked, and the server is not down. */
  #sseWorks = false;
  #missedHeartbeats = 0;
  #topics: readonly string[] | undefined;
  readonly #timers = new Map<string, () => void>();
  readonly #sendQueue: SendQueue;

  constructor(
    private readonly options: ConnectionManagerOptions,
    private readonly environment: Environment,
  ) {
    this.#topics = options.topics;
    this.#sendQueue = new SendQueue(options.queueLimit);
  }

  get status(): ConnectionStatus {
    return this.#status;
  }

  connect(): void {
    const { state } = this.#status;
    if (state === "waiting") this.#open("websocket");
    if (state === "idle" || state === "closed") this.#start();
  }

  disconnect(): void {
    this.#closeConnection();
    this.#sendQueue.flush(() => false);
    this.#setStatus({ state: "idle" }, { code: 1000, reason: "disconnected" });
  }

  checkConnection(): void {
    const { state } = this.#status;
    if (state === "waiting") this.#open("websocket");
    if (state === "closed" && !this.#status.terminal) this.#start();
    if (state === "online" && this.#transport === "websocket") {
      this.#write({ type: "ping" });
      this.#startDeadline(PROBE_TIMEOUT_MS);
    }
  }

  resumeFrom(cursor: string): void {
    const { state } = this.#status;
    if (state !== "idle" && state !== "closed") this.#open("websocket", cursor);
  }

  async send(message: ClientMessage): Promise<boolean> {
    const { state } = this.#status;
    if (state === "closed" || (state === "online" && this.#transport === "sse")) return false;
    return (state === "online" && this.#write(message)) || this.#sendQueue.add(message);
  }

  #start(): void {
    this.#attempt = 0;
    this.#open("websocket");
  }

  #open(transport: Transport, cursor = this.environment.getCursor()): void {
    this.#closeConnection();
    this.#transport = transport;
    // A closed connection may still call its handlers.
    const ifCurrent = (handle: () => void): void => {
      if (this.#connection === connection) handle();
    };
    const connection = this.environment.open(
      { transport, cursor, topics: this.#topics },
      {
        onMessage: (text) => ifCurrent(() => this.#handleMessage(text)),
        onCursor: (position) => ifCurrent(() => this.#handleCursor(position)),
        onActivity: () => ifCurrent(() => this.#handleActivity()),
        onClose: (code, reason) => ifCurrent(() => this.#handleClose(code, reason)),
      },
    );
    this.#connection = connection;
    this.#startDeadline(FIRST_MESSAGE_TIMEOUT_MS);
    this.environment.onUpdate({ kind: "open", cursor });
    this.#setStatus({ state: "connecting", attempt: this.#attempt });
  }

  #handleMessage(text: string): void {
    // The first message over Server-Sent Events shows that the server is up: try WebSocket once more.
    if (this.#transport === "sse" && !this.#sseWorks) {
      this.#sseWorks = true;
      this.#open("websocket");
      return;
    }
    const connection = this.#connection;
    this.#handleActivity();
    if (this.#status.state !== "online") this.#goOnline();
    const message = parseMessage(text);
    if (message?.type === "feed_status" && connection === this.#connection)
      this.#setOnline(message.live, message.since);
    // A listener of the status may have disconnected.
    if (message === undefined || connection !== this.#connection) return;
    if (message.type === "ping") this.#write({ type: "pong" });
    if (message.type === "subscribed") this.#topics = message.topics;
    if (message.type === "authenticated" && message.expires) this.#scheduleTokenRefresh(Date.parse(message.expires));
    this.environment.onUpdate({ kind: "message", message });
  }

  #handleCursor(cursor: string): void {
    if (this.#status.state === "online") this.environment.onUpdate({ kind: "cursor", cursor });
  }

  #goOnline(): void {
    this.#clearTimer("deadline");
    this.#attempt = 0;
    this.#missedHeartbeats = 0;
    if (this.#transport === "websocket") {
      this.#failedWebSockets = 0;
      this.#sseWorks = false;
    }
    this.#startTimer("heartbeat", this.options.heartbeatMs, () => this.#sendHeartbeat());
    this.#setOnline(true);
  }

  #setOnline(live: boolean, since?: string): void {
    this.#setStatus({ state: "online", transport: this.#transport, live, since });
  }

  #handleClose(code: number, reason: string): void {
    const { baseDelayMs, maxDelayMs, maxAttempts } = this.options;
    const openingTransport = this.#status.state === "online" ? undefined : this.#transport;
    this.#closeConnection();
    // Any other code was sent by the server, so the WebSocket did open.
    const webSocketFailed = openingTransport === "websocket" && code === ABNORMAL_CLOSURE;
    if (webSocketFailed) this.#failedWebSockets++;
    if (openingTransport === "sse") this.#sseWorks = false;
    if (isTerminal(code)) {
      this.#giveUp(code, reason, true);
    } else if (webSocketFailed && (this.#sseWorks || this.#failedWebSockets >= MAX_FAILED_WEBSOCKETS)) {
      this.#open("sse");
    } else if (this.#attempt >= maxAttempts) {
      this.#giveUp(code, reason, false);
    } else {
      this.#attempt++;
      const delay = backoffDelay(this.#attempt, baseDelayMs, maxDelayMs, this.environment.random());
      this.#startTimer("retry", delay, () => this.#open("websocket"));
      const retryAt = this.environment.now() + delay;
      this.#setStatus({ state: "waiting", attempt: this.#attempt, maxAttempts, retryAt }, { code, reason });
    }
  }

  #giveUp(code: number, reason: string, terminal: boolean): void {
    this.#sendQueue.flush(() => false);
    this.#setStatus({ state: "closed", code, reason, terminal }, { code, reason });
  }

  #sendHeartbeat(): void {
    if (this.#missedHeartbeats >= MAX_MISSED_HEARTBEATS) {
      this.#handleClose(3012, "no sign of life");
      return;
    }
    this.#missedHeartbeats++;
    this.#write({ type: "ping" });
    this.#startTimer("heartbeat", this.options.heartbeatMs, () => this.#sendHeartbeat());
  }

  #handleActivity(): void {
    this.#missedHeartbeats = 0;
    if (this.#status.state === "online") this.#clearTimer("deadline");
  }

  #startDeadline(ms: number): void {
    this.#startTimer("deadline", ms, () => this.#handleClose(ABNORMAL_CLOSURE, "no answer"));
  }

  /**
   * If the refresh fails or comes too late (the local clock may be wrong), the server closes the session, and the next attempt asks for
   * a token again.
   */
  #scheduleTokenRefresh(expires: number): void {
    const left = expires - this.environment.now();
    if (!(left > 0) || this.#transport !== "websocket") return;
    const delay = Math.max(MIN_TOKEN_REFRESH_MS, left - Math.min(TOKEN_REFRESH_LEAD_MS, left / 2));
    this.#startTimer("token", Math.min(delay, MAX_TIMER_MS), () => {
      const connection = this.#connection;
      void this.environment.getToken().then(
        (token) => {
          if (token && connection === this.#connection) this.#write({ type: "auth", token });
        },
        () => undefined,
      );
    });
  }

  #write(message: ClientMessage): boolean {
    return this.#transport === "websocket" && !!this.#connection?.send(JSON.stringify(message));
  }

  #closeConnection(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
    connection?.close();
  }

  /** Every change of the status goes through here. `closeInfo` is given if the change ends a connection. */
  #setStatus(status: ConnectionStatus, closeInfo?: CloseInfo): void {
    this.#status = status;
    // Before the listeners run: queued messages go out before those that a listener sends.
    if (status.state === "online") this.#sendQueue.flush((message) => this.#write(message));
    this.environment.onUpdate({ kind: "status", status, closeInfo });
  }

  #startTimer(name: string, ms: number, callback: () => void): void {
    this.#clearTimer(name);
    this.#timers.set(
      name,
      this.environment.setTimer(ms, () => {
        this.#timers.delete(name);
        callback();
      }),
    );
  }

  #clearTimer(name: string): void {
    this.#timers.get(name)?.();
    this.#timers.delete(name);
  }
}
