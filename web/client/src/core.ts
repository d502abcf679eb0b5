import { type ClientFrame, parse, type ServerFrame } from "./frames.js";
import { type Line, type LineEvents, LOST, type Target, type Transport } from "./line.js";
import { Outbox } from "./outbox.js";

export type Status =
  /** Not asked to connect. */
  | { state: "idle" }
  /** 0 is the first attempt, n the n-th retry. */
  | { state: "connecting"; attempt: number }
  /** The server's first frame has come. */
  | { state: "online"; transport: Transport }
  /** The next attempt comes at `retryAt`, in milliseconds of `Date.now()`. */
  | { state: "waiting"; attempt: number; maxAttempts: number; retryAt: number }
  /** Given up: `terminal` if the server said not to come back, else because every attempt failed. */
  | { state: "closed"; code: number; reason: string; terminal: boolean };

export interface Closing {
  code: number;
  reason: string;
}

/** What the core tells: everything that a tab needs to know, whether the connection is its own or another tab's. */
export type Signal =
  | { kind: "dial"; cursor: string | undefined }
  | { kind: "status"; status: Status; closing?: Closing }
  | { kind: "position"; cursor: string }
  | { kind: "frame"; frame: ServerFrame };

/** The world, as the core needs it. */
export interface Io {
  now(): number;
  /** Evenly from 0 to 1. */
  random(): number;
  /** Runs once, later; the answer cancels it. */
  timer(ms: number, run: () => void): () => void;
  /** Opens a connection; its events come later, never during the call. */
  dial(target: Target, events: LineEvents): Line;
  /** A fresh token, if there are tokens. */
  token(): Promise<string | null | undefined>;
  cursor(): string | undefined;
  signal(signal: Signal): void;
}

export interface CoreOptions {
  topics: readonly string[] | undefined;
  maxAttempts: number;
  baseDelayMs: number;
  maxDelayMs: number;
  heartbeatMs: number;
  queueLimit: number;
}

/** From dialling to the first frame. A proxy that swallows the upgrade would otherwise hold us for minutes. */
const FIRST_FRAME_MS = 10_000;
/** How long a line may take to show that it is alive when there is reason to doubt it. */
const PROBE_MS = 5_000;
/** Intervals without a sign of life after which a line counts as dead; the server counts the same way. */
const SILENT_BEATS = 2;
/** WebSockets in a row that never opened, after which Server-Sent Events are tried. */
const DOUBTED_AFTER = 2;
/** A token is renewed so long before it runs out, or half-way if it is short-lived. */
const RENEW_BEFORE_MS = 60_000;
const RENEW_NO_SOONER_MS = 10_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** 3500 to 3999: the server says not to come back. So do these statuses over HTTP. */
export function isTerminal(code: number): boolean {
  return (code >= 3500 && code <= 3999) || code === 400 || code === 401 || code === 403;
}

/** Full jitter: anywhere from 0 to 3, 6, 12, 24, 30, 30 … seconds, with the defaults. `attempt` counts from 1. */
export function backOff(attempt: number, baseMs: number, maxMs: number, random: number): number {
  return random * Math.min(maxMs, baseMs * 2 ** (attempt - 1));
}

/** The state machine of one connection. Does no I/O of its own: what happens comes in by methods, all else goes through `Io`. */
export class Core {
  #status: Status = { state: "idle" };
  #line: Line | undefined;
  #transport: Transport = "websocket";
  #attempt = 0;
  #unopened = 0;
  /** WebSocket counts as blocked when it does not open although Server-Sent Events have: the server is there. */
  #sseOpens = false;
  #silentBeats = 0;
  #topics: readonly string[] | undefined;
  readonly #timers = new Map<string, () => void>();
  readonly #outbox: Outbox;

  constructor(
    private readonly options: CoreOptions,
    private readonly io: Io,
  ) {
    this.#topics = options.topics;
    this.#outbox = new Outbox(options.queueLimit);
  }

  get status(): Status {
    return this.#status;
  }

  /** Connect, at once if an attempt is being waited for. */
  connect(): void {
    if (this.#status.state === "waiting") this.#dial("websocket");
    if (this.#status.state === "idle" || this.#status.state === "closed") this.#start();
  }

  disconnect(): void {
    this.#hangUp();
    this.#outbox.flush(() => false);
    this.#become({ state: "idle" }, { code: 1000, reason: "disconnected" });
  }

  /** The network is said to have changed, or the page to be looked at: what was hopeless may work now, what worked may be dead. */
  wake(): void {
    const { state } = this.#status;
    if (state === "waiting") this.#dial("websocket");
    if (state === "closed" && !this.#status.terminal) this.#start();
    if (state === "online" && this.#transport === "websocket") {
      this.#write({ type: "ping" });
      this.#deadline(PROBE_MS);
    }
  }

  /** Leave the connection, if there is to be one, for one that replays from here. */
  resumeFrom(cursor: string): void {
    const { state } = this.#status;
    if (state !== "idle" && state !== "closed") this.#dial("websocket", cursor);
  }

  send(message: ClientFrame): Promise<boolean> {
    const { state } = this.#status;
    if (state === "closed" || (state === "online" && this.#transport === "sse")) return Promise.resolve(false);
    return state === "online" && this.#write(message) ? Promise.resolve(true) : this.#outbox.add(message);
  }

  #start(): void {
    this.#attempt = 0;
    this.#dial("websocket");
  }

  #dial(transport: Transport, cursor = this.io.cursor()): void {
    this.#hangUp();
    this.#transport = transport;
    // A line that has been left may still have something to say.
    const current = (run: () => void): void => {
      if (this.#line === line) run();
    };
    const line = this.io.dial(
      { transport, cursor, topics: this.#topics },
      {
        frame: (text) => current(() => this.#receive(text)),
        position: (position) => current(() => this.#position(position)),
        alive: () => current(() => this.#alive()),
        closed: (code, reason) => current(() => this.#ended(code, reason)),
      },
    );
    this.#line = line;
    this.#deadline(FIRST_FRAME_MS);
    this.io.signal({ kind: "dial", cursor });
    this.#become({ state: "connecting", attempt: this.#attempt });
  }

  #receive(text: string): void {
    if (this.#transport === "sse" && !this.#sseOpens) {
      this.#sseOpens = true;
      this.#dial("websocket");
      return;
    }
    const line = this.#line;
    this.#alive();
    if (this.#status.state !== "online") this.#opened();
    const frame = parse(text);
    // Whoever was told that we are online may have hung up.
    if (frame === undefined || line !== this.#line) return;
    if (frame.type === "ping") this.#write({ type: "pong" });
    if (frame.type === "subscribed") this.#topics = frame.topics;
    if (frame.type === "authenticated") this.#renewBefore(Date.parse(frame.expires));
    this.io.signal({ kind: "frame", frame });
  }

  #position(cursor: string): void {
    if (this.#status.state === "online") this.io.signal({ kind: "position", cursor });
  }

  #opened(): void {
    this.#stop("deadline");
    this.#attempt = 0;
    this.#silentBeats = 0;
    if (this.#transport === "websocket") {
      this.#unopened = 0;
      this.#sseOpens = false;
    }
    this.#after("beat", this.options.heartbeatMs, () => this.#beat());
    this.#become({ state: "online", transport: this.#transport });
  }

  #ended(code: number, reason: string): void {
    const unopened = this.#status.state === "online" ? undefined : this.#transport;
    this.#hangUp();
    // With any other code it did open: the server has closed it.
    const failed = unopened === "websocket" && code === LOST;
    if (failed) this.#unopened++;
    if (unopened === "sse") this.#sseOpens = false;
    if (isTerminal(code)) {
      this.#giveUp(code, reason, true);
    } else if (failed && (this.#sseOpens || this.#unopened >= DOUBTED_AFTER)) {
      this.#dial("sse");
    } else if (this.#attempt >= this.options.maxAttempts) {
      this.#giveUp(code, reason, false);
    } else {
      this.#attempt++;
      const { baseDelayMs, maxDelayMs, maxAttempts } = this.options;
      const delay = backOff(this.#attempt, baseDelayMs, maxDelayMs, this.io.random());
      this.#after("retry", delay, () => this.#dial("websocket"));
      const retryAt = this.io.now() + delay;
      this.#become({ state: "waiting", attempt: this.#attempt, maxAttempts, retryAt }, { code, reason });
    }
  }

  #giveUp(code: number, reason: string, terminal: boolean): void {
    this.#outbox.flush(() => false);
    this.#become({ state: "closed", code, reason, terminal }, { code, reason });
  }

  #beat(): void {
    if (this.#silentBeats >= SILENT_BEATS) {
      this.#ended(3012, "no sign of life");
      return;
    }
    this.#silentBeats++;
    this.#write({ type: "ping" });
    this.#after("beat", this.options.heartbeatMs, () => this.#beat());
  }

  #alive(): void {
    this.#silentBeats = 0;
    if (this.#status.state === "online") this.#stop("deadline");
  }

  #deadline(ms: number): void {
    this.#after("deadline", ms, () => this.#ended(LOST, "no answer"));
  }

  /** Without a token in time the server ends the session, and the next attempt asks again; so it does if our clock is wrong. */
  #renewBefore(expires: number): void {
    const left = expires - this.io.now();
    if (!(left > 0) || this.#transport !== "websocket") return;
    const wait = Math.max(RENEW_NO_SOONER_MS, left - Math.min(RENEW_BEFORE_MS, left / 2));
    this.#after("renew", Math.min(wait, LONGEST_TIMER_MS), () => {
      const line = this.#line;
      void this.io.token().then(
        (token) => {
          if (token && line === this.#line) this.#write({ type: "auth", token });
        },
        () => undefined,
      );
    });
  }

  /** Server-Sent Events go one way only. */
  #write(message: ClientFrame): boolean {
    return this.#transport === "websocket" && !!this.#line?.write(JSON.stringify(message));
  }

  #hangUp(): void {
    const line = this.#line;
    this.#line = undefined;
    for (const name of [...this.#timers.keys()]) this.#stop(name);
    line?.close();
  }

  /** The one place where the status changes. `closing` says why, if it ends an online connection. */
  #become(status: Status, closing?: Closing): void {
    this.#status = status;
    // Before anybody knows: what they send then must come after what has waited.
    if (status.state === "online") this.#outbox.flush((message) => this.#write(message));
    this.io.signal(closing ? { kind: "status", status, closing } : { kind: "status", status });
  }

  #after(name: string, ms: number, run: () => void): void {
    this.#stop(name);
    this.#timers.set(
      name,
      this.io.timer(ms, () => {
        this.#timers.delete(name);
        run();
      }),
    );
  }

  #stop(name: string): void {
    this.#timers.get(name)?.();
    this.#timers.delete(name);
  }
}
