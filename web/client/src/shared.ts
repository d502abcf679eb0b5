import type { Core, Signal } from "./core.js";
import type { ClientFrame, ServerFrame } from "./frames.js";

/** What a tab does with its connection, be it its own or another tab's. */
export type Connection = Pick<Core, "connect" | "disconnect" | "wake" | "send" | "resumeFrom">;

/** Between the tabs. Signals come from the tab that leads, all else goes to it. */
type Message =
  | { kind: "signals"; signals: readonly Signal[]; to?: string }
  | { kind: "leads" }
  | { kind: "hello"; from: string }
  | { kind: "connect" | "wake" }
  | { kind: "resume"; cursor: string }
  | { kind: "send"; id: string; message: ClientFrame }
  | { kind: "sent"; id: string; sent: boolean };

export interface SharedOptions {
  /** Tabs that use the same name share. */
  name: string;
  heartbeatMs: number;
  queueLimit: number;
  cursor(): string | undefined;
  signal(signal: Signal): void;
  /** The real connection, for the time that this tab leads. */
  core(signal: (signal: Signal) => void, topics: readonly string[] | undefined): Core;
}

/** Heartbeats without a word from the tab that leads, after which another takes over: it may have been frozen. */
const SILENT_BEATS = 3;
/** Timers of a hidden tab are late; those who look at the countdown need not wait for them. */
const LATE_MS = 1_000;

/** Signals that come so close together are handed on together: at a thousand a second, one by one costs a tenth of a core. */
const BATCH_MS = 16;

export function canShare(): boolean {
  return typeof BroadcastChannel === "function" && typeof navigator === "object" && !!navigator.locks;
}

/**
 * One connection for the tabs of a browser. The tab that holds the lock leads: it has the connection, and hands all that it hears to
 * the others. When it is closed the browser gives the lock to the next, which resumes from the last event that it has been handed.
 */
export class SharedConnection implements Connection {
  readonly #id = crypto.randomUUID();
  #channel: BroadcastChannel | undefined;
  #core: Core | undefined;
  /** Our place in the queue for the lead, and the lead itself: aborted, it is given up. */
  #turn: AbortController | undefined;
  #sent = 0;
  readonly #unsent = new Map<string, { message: ClientFrame; settle: (sent: boolean) => void }>();
  /** What a tab that joins has to know: these frames are news only when something changes. */
  readonly #standing = new Map<string, ServerFrame>();
  #status: Signal & { kind: "status" } = { kind: "status", status: { state: "connecting", attempt: 0 } };
  #untold: Signal[] = [];
  /** Whether another tab was ever heard. Until then there is nobody to tell. */
  #others = false;
  #silentBeats = 0;
  #beat: ReturnType<typeof setInterval> | undefined;
  #late: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly options: SharedOptions) {}

  connect(): void {
    if (this.#core) this.#core.connect();
    else if (this.#channel) this.#post({ kind: "connect" });
    else this.#join();
  }

  disconnect(): void {
    this.#turn?.abort();
    clearInterval(this.#beat);
    clearTimeout(this.#late);
    this.#channel?.close();
    this.#channel = undefined;
    for (const { settle } of this.#unsent.values()) settle(false);
    this.#unsent.clear();
    this.#stepDown();
    this.#hear({ kind: "status", status: { state: "idle" }, closing: { code: 1000, reason: "disconnected" } });
  }

  wake(): void {
    if (this.#core) this.#core.wake();
    else this.#post({ kind: "wake" });
  }

  resumeFrom(cursor: string): void {
    if (this.#core) this.#core.resumeFrom(cursor);
    else this.#post({ kind: "resume", cursor });
  }

  send(message: ClientFrame): Promise<boolean> {
    if (this.#core) return this.#core.send(message);
    if (this.#unsent.size >= this.options.queueLimit) return Promise.resolve(false);
    const id = `${this.#id}-${++this.#sent}`;
    return new Promise((settle) => {
      this.#unsent.set(id, { message, settle });
      this.#post({ kind: "send", id, message });
    });
  }

  #join(): void {
    this.#channel = new BroadcastChannel(this.options.name);
    this.#channel.onmessage = ({ data }) => this.#receive(data as Message);
    this.#beat = setInterval(() => this.#watch(), this.options.heartbeatMs);
    this.#follow();
  }

  #follow(): void {
    this.#hear({ kind: "status", status: { state: "connecting", attempt: 0 } });
    this.#post({ kind: "hello", from: this.#id });
    this.#queueForLead();
  }

  #queueForLead(steal = false): void {
    this.#turn?.abort();
    this.#turn = new AbortController();
    const { signal } = this.#turn;
    const lead = (): Promise<void> | undefined => (signal.aborted ? undefined : this.#lead(signal));
    navigator.locks.request(this.options.name, steal ? { steal } : { signal }, lead).catch(({ name }: DOMException) => {
      if (signal.aborted) return;
      // A page that may keep nothing has no locks: it leads for itself.
      if (name !== "AbortError") return void this.#lead(signal);
      // Another tab has taken the lead, because we were not heard for too long.
      this.#stepDown();
      this.#follow();
    });
  }

  #lead(over: AbortSignal): Promise<void> {
    const topics = this.#standing.get("subscribed");
    const core = this.options.core(
      (signal) => {
        if (this.#core !== core) return;
        this.#tell(signal);
        this.#hear(signal);
      },
      topics?.type === "subscribed" ? topics.topics : undefined,
    );
    this.#core = core;
    this.#post({ kind: "leads" });
    core.connect();
    for (const { message, settle } of this.#unsent.values()) void core.send(message).then(settle);
    this.#unsent.clear();
    return new Promise((resolve) => over.addEventListener("abort", () => resolve()));
  }

  /** The others are not told of the end: one of them goes on. */
  #stepDown(): void {
    const core = this.#core;
    this.#core = undefined;
    this.#untold = [];
    core?.disconnect();
  }

  #receive(message: Message): void {
    this.#silentBeats = 0;
    this.#others = true;
    const core = this.#core;
    if (core) {
      if (message.kind === "hello") this.#welcome(message.from);
      if (message.kind === "connect") core.connect();
      if (message.kind === "wake") core.wake();
      if (message.kind === "resume") core.resumeFrom(message.cursor);
      if (message.kind === "send") {
        const { id } = message;
        // If the lead is lost meanwhile, the next one is asked again and answers.
        void core.send(message.message).then((sent) => this.#core === core && this.#post({ kind: "sent", id, sent }));
      }
      return;
    }
    if (message.kind === "signals" && (message.to ?? this.#id) === this.#id) for (const signal of message.signals) this.#hear(signal);
    if (message.kind === "leads") for (const [id, { message: again }] of this.#unsent) this.#post({ kind: "send", id, message: again });
    if (message.kind === "sent") {
      this.#unsent.get(message.id)?.settle(message.sent);
      this.#unsent.delete(message.id);
    }
  }

  #welcome(to: string): void {
    const frames = [...this.#standing.values()].map((frame): Signal => ({ kind: "frame", frame }));
    this.#tellNow();
    this.#post({ kind: "signals", signals: [{ kind: "dial", cursor: this.options.cursor() }, this.#status, ...frames], to });
  }

  /** A hidden page has time, and its timers are late: it hands on one by one. */
  #tell(signal: Signal): void {
    if (!this.#others) return;
    this.#untold.push(signal);
    if (globalThis.document?.visibilityState !== "visible") this.#tellNow();
    else if (this.#untold.length === 1) setTimeout(() => this.#tellNow(), BATCH_MS);
  }

  #tellNow(): void {
    if (this.#untold.length) this.#post({ kind: "signals", signals: this.#untold });
    this.#untold = [];
  }

  #hear(signal: Signal): void {
    if (signal.kind === "frame" && (signal.frame.type === "analytics_update" || signal.frame.type === "subscribed"))
      this.#standing.set(signal.frame.type, signal.frame);
    if (signal.kind === "status") {
      this.#status = signal;
      clearTimeout(this.#late);
      if (!this.#core && signal.status.state === "waiting")
        this.#late = setTimeout(() => this.#post({ kind: "connect" }), signal.status.retryAt - Date.now() + LATE_MS);
    }
    this.options.signal(signal);
  }

  /** The server's heartbeats are handed on too, so whoever leads is heard at every beat. */
  #watch(): void {
    if (this.#core || this.#status.status.state === "closed") return;
    if (++this.#silentBeats > SILENT_BEATS) {
      this.#silentBeats = 0;
      this.#queueForLead(true);
    }
  }

  #post(message: Message): void {
    this.#channel?.postMessage(message);
  }
}
