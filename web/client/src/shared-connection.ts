import type { ConnectionControl, ConnectionUpdate } from "./connection-manager.js";
import type { ClientMessage, ServerMessage } from "./messages.js";

/** What the tabs send each other. The leader sends the first two and `sent`, the followers the others. */
type TabMessage =
  | { kind: "updates"; updates: readonly ConnectionUpdate[]; to?: string }
  | { kind: "leader" }
  | { kind: "hello"; from: string }
  | { kind: "connect" | "check" }
  | { kind: "resume"; cursor: string }
  | { kind: "send"; id: string; message: ClientMessage }
  | { kind: "sent"; id: string; sent: boolean };

export interface SharedConnectionOptions {
  /** Name of the lock and of the channel. Tabs that use the same name share a connection. */
  name: string;
  heartbeatMs: number;
  queueLimit: number;
  getCursor(): string | undefined;
  onUpdate(update: ConnectionUpdate): void;
  /** Called when this tab becomes the leader. `topics` are those that the server confirmed to the previous leader. */
  createManager(onUpdate: (update: ConnectionUpdate) => void, topics: readonly string[] | undefined): ConnectionControl;
}

/** Heartbeat intervals without a message from the leader, after which a follower takes the lock: the leader may be frozen. */
const MAX_MISSED_HEARTBEATS = 3;
/** Browsers delay the timers of a hidden leader. A follower asks it to retry when it is this late. */
const RETRY_GRACE_MS = 1_000;
/** Updates within this time are sent to the followers together: one by one, 1,000 a second take a tenth of a core. */
const BATCH_MS = 16;

export function canShare(): boolean {
  return typeof BroadcastChannel === "function" && typeof navigator === "object" && !!navigator.locks;
}

/**
 * One connection for all tabs of a browser. The tab that holds the Web Lock is the leader: it has the connection, and forwards all updates
 * to the followers over a BroadcastChannel. When it closes, the browser gives the lock to another tab, which resumes from its own cursor.
 */
export class SharedConnection implements ConnectionControl {
  readonly #id = crypto.randomUUID();
  #channel: BroadcastChannel | undefined;
  /** Defined in the leader only. */
  #manager: ConnectionControl | undefined;
  /** Aborting it withdraws the request for the lock, or releases the lock. */
  #lockRequest: AbortController | undefined;
  #sendCount = 0;
  /** Messages that the leader has not acknowledged. */
  readonly #unacknowledged = new Map<string, { message: ClientMessage; resolve: (sent: boolean | Promise<boolean>) => void }>();
  /** The latest message of each kind that describes a state. Sent to a tab that joins, since the server only sends changes. */
  readonly #latestMessages = new Map<string, ServerMessage>();
  #latestStatus: ConnectionUpdate & { kind: "status" } = { kind: "status", status: { state: "connecting", attempt: 0 } };
  #batch: ConnectionUpdate[] = [];
  /** Whether another tab has ever sent anything. Until then updates are not forwarded. */
  #hasOtherTabs = false;
  #missedHeartbeats = 0;
  #heartbeatTimer: ReturnType<typeof setInterval> | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly options: SharedConnectionOptions) {}

  connect(): void {
    if (this.#manager) this.#manager.connect();
    else if (this.#channel) this.#post({ kind: "connect" });
    else this.#join();
  }

  disconnect(): void {
    this.#lockRequest?.abort();
    clearInterval(this.#heartbeatTimer);
    clearTimeout(this.#retryTimer);
    this.#channel?.close();
    this.#channel = undefined;
    for (const { resolve } of this.#unacknowledged.values()) resolve(false);
    this.#unacknowledged.clear();
    this.#stopLeading();
    this.#handleUpdate({ kind: "status", status: { state: "idle" }, closeInfo: { code: 1000, reason: "disconnected" } });
  }

  checkConnection(): void {
    if (this.#manager) this.#manager.checkConnection();
    else this.#post({ kind: "check" });
  }

  resumeFrom(cursor: string): void {
    if (this.#manager) this.#manager.resumeFrom(cursor);
    else this.#post({ kind: "resume", cursor });
  }

  async send(message: ClientMessage): Promise<boolean> {
    if (this.#manager) return this.#manager.send(message);
    if (this.#unacknowledged.size >= this.options.queueLimit) return false;
    const id = `${this.#id}-${++this.#sendCount}`;
    return new Promise((resolve) => {
      this.#unacknowledged.set(id, { message, resolve });
      this.#post({ kind: "send", id, message });
    });
  }

  #join(): void {
    this.#channel = new BroadcastChannel(this.options.name);
    this.#channel.onmessage = ({ data }) => this.#handleTabMessage(data as TabMessage);
    this.#heartbeatTimer = setInterval(() => this.#checkLeader(), this.options.heartbeatMs);
    this.#follow();
  }

  #follow(): void {
    this.#handleUpdate({ kind: "status", status: { state: "connecting", attempt: 0 } });
    this.#post({ kind: "hello", from: this.#id });
    this.#requestLock();
  }

  #requestLock(steal = false): void {
    this.#lockRequest?.abort();
    this.#lockRequest = new AbortController();
    const { signal } = this.#lockRequest;
    const onGranted = (): Promise<void> | undefined => (signal.aborted ? undefined : this.#lead(signal));
    navigator.locks.request(this.options.name, steal ? { steal } : { signal }, onGranted).catch(({ name }: DOMException) => {
      if (signal.aborted) return;
      // Such as SecurityError: the page may not use storage, and so no locks. It uses a connection of its own.
      if (name !== "AbortError") return void this.#lead(signal);
      // Another tab has stolen the lock, because it missed this leader's heartbeats.
      this.#stopLeading();
      this.#follow();
    });
  }

  /** Returns a promise that holds the lock until `released` is aborted. */
  #lead(released: AbortSignal): Promise<void> {
    const subscribed = this.#latestMessages.get("subscribed");
    const manager = this.options.createManager(
      (update) => {
        if (this.#manager !== manager) return;
        this.#forward(update);
        this.#handleUpdate(update);
      },
      subscribed?.type === "subscribed" ? subscribed.topics : undefined,
    );
    this.#manager = manager;
    this.#post({ kind: "leader" });
    manager.connect();
    for (const { message, resolve } of this.#unacknowledged.values()) resolve(manager.send(message));
    this.#unacknowledged.clear();
    return new Promise((resolve) => released.addEventListener("abort", () => resolve()));
  }

  /** Does not forward the end of the connection to the followers: one of them becomes the leader and reconnects. */
  #stopLeading(): void {
    const manager = this.#manager;
    this.#manager = undefined;
    this.#batch = [];
    manager?.disconnect();
  }

  #handleTabMessage(tabMessage: TabMessage): void {
    this.#missedHeartbeats = 0;
    this.#hasOtherTabs = true;
    if (this.#manager) this.#handleFollowerMessage(tabMessage, this.#manager);
    else this.#handleLeaderMessage(tabMessage);
  }

  #handleFollowerMessage(tabMessage: TabMessage, manager: ConnectionControl): void {
    if (tabMessage.kind === "hello") this.#sendStateTo(tabMessage.from);
    if (tabMessage.kind === "connect") manager.connect();
    if (tabMessage.kind === "check") manager.checkConnection();
    if (tabMessage.kind === "resume") manager.resumeFrom(tabMessage.cursor);
    if (tabMessage.kind === "send") {
      const { id, message } = tabMessage;
      // If this tab has lost the lock meanwhile, the follower sends the message to the next leader, which answers.
      void manager.send(message).then((sent) => this.#manager === manager && this.#post({ kind: "sent", id, sent }));
    }
  }

  #handleLeaderMessage(tabMessage: TabMessage): void {
    if (tabMessage.kind === "updates" && (tabMessage.to ?? this.#id) === this.#id)
      for (const update of tabMessage.updates) this.#handleUpdate(update);
    if (tabMessage.kind === "leader")
      for (const [id, { message }] of this.#unacknowledged) this.#post({ kind: "send", id, message });
    if (tabMessage.kind === "sent") {
      this.#unacknowledged.get(tabMessage.id)?.resolve(tabMessage.sent);
      this.#unacknowledged.delete(tabMessage.id);
    }
  }

  #sendStateTo(tab: string): void {
    const messages = [...this.#latestMessages.values()].map((message): ConnectionUpdate => ({ kind: "message", message }));
    this.#flushBatch();
    const updates: ConnectionUpdate[] = [{ kind: "open", cursor: this.options.getCursor() }, this.#latestStatus, ...messages];
    this.#post({ kind: "updates", updates, to: tab });
  }

  /** A hidden tab forwards each update at once, since browsers delay its timers. */
  #forward(update: ConnectionUpdate): void {
    if (!this.#hasOtherTabs) return;
    this.#batch.push(update);
    if (globalThis.document?.visibilityState !== "visible") this.#flushBatch();
    else if (this.#batch.length === 1) setTimeout(() => this.#flushBatch(), BATCH_MS);
  }

  #flushBatch(): void {
    if (this.#batch.length) this.#post({ kind: "updates", updates: this.#batch });
    this.#batch = [];
  }

  #handleUpdate(update: ConnectionUpdate): void {
    if (update.kind === "message" && (update.message.type === "analytics_update" || update.message.type === "subscribed"))
      this.#latestMessages.set(update.message.type, update.message);
    if (update.kind === "status") {
      this.#latestStatus = update;
      clearTimeout(this.#retryTimer);
      if (!this.#manager && update.status.state === "waiting") {
        const delay = update.status.retryAt - Date.now() + RETRY_GRACE_MS;
        this.#retryTimer = setTimeout(() => this.#post({ kind: "connect" }), delay);
      }
    }
    this.options.onUpdate(update);
  }

  /** Runs in every heartbeat interval. The leader forwards the server's heartbeats, so a live leader is heard in each of them. */
  #checkLeader(): void {
    if (this.#manager || this.#latestStatus.status.state === "closed") return;
    if (++this.#missedHeartbeats > MAX_MISSED_HEARTBEATS) {
      this.#missedHeartbeats = 0;
      this.#requestLock(true);
    }
  }

  #post(tabMessage: TabMessage): void {
    this.#channel?.postMessage(tabMessage);
  }
}
