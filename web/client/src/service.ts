import { ABNORMAL_CLOSURE } from "./connection.js";
import {
  type CloseInfo,
  type ConnectionControl,
  ConnectionManager,
  type ConnectionManagerOptions,
  type ConnectionStatus,
  type ConnectionUpdate,
} from "./connection-manager.js";
import { Conflation } from "./conflation.js";
import { createEnvironment, endpointUrl, listenToNetwork } from "./environment.js";
import { Listeners } from "./listeners.js";
import { type AnalyticsUpdate, type ClientMessage, isEvent, type ServerMessage } from "./messages.js";
import type { Options } from "./options.js";
import { ReceivedEvents } from "./received-events.js";
import { canShare, SharedConnection } from "./shared-connection.js";

type Listener<T> = (value: T) => void;

/** Part of the name under which tabs find each other: tabs with other messages between them do not share a connection. */
const TAB_PROTOCOL_VERSION = 3;

/** A connection to an Orderwire server that reconnects, resumes, drops duplicate events, and reports gaps. */
export class WebSocketService {
  #options: Options;
  #connection: ConnectionControl | undefined;
  #events: ReceivedEvents;
  #status: ConnectionStatus = { state: "idle" };
  #topics: readonly string[] | undefined;
  #totals: AnalyticsUpdate | undefined;
  readonly #conflation = new Conflation();
  #conflateMs = 0;
  #deliveryTimer: ReturnType<typeof setTimeout> | undefined;
  /** The cursor when nothing waited for delivery. */
  #deliveredCursor: string | undefined;
  #wasOnline = false;
  /** The connection that is being opened starts after events that were not received: report a gap once it is online. */
  #gapPending = false;
  /** The cursor of the last call of `resumeFrom`, which is called once per cursor. */
  #resumeCursor: string | undefined;
  #stopNetworkListeners: (() => void) | undefined;
  readonly #onMessage = new Listeners<[ServerMessage, number]>();
  readonly #onConnect = new Listeners<[]>();
  readonly #onDisconnect = new Listeners<[CloseInfo]>();
  readonly #onStatus = new Listeners<[ConnectionStatus]>();
  readonly #onGap = new Listeners<[]>();

  constructor(options: Options = {}) {
    this.#options = options;
    this.#events = new ReceivedEvents(options.lastEventId);
  }

  /** Changes options of an existing instance. Takes effect at the first `connect()`, or at the next one after `disconnect()`. */
  configure(options: Options): void {
    this.#options = { ...this.#options, ...options };
    if (options.lastEventId !== undefined) this.#events.moveCursor(options.lastEventId);
  }

  /**
   * Connects and stays connected. Retries at once if a retry is pending. No effect while connecting or online. Throws a TypeError
   * outside of a browser where option `url` or `WebSocket` is missing.
   */
  connect(): void {
    this.#connection ??= this.#createConnection();
    this.#stopNetworkListeners ??= listenToNetwork(() => this.#connection?.checkConnection());
    this.#connection?.connect();
  }

  disconnect(): void {
    this.#stopNetworkListeners?.();
    this.#stopNetworkListeners = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.disconnect();
  }

  /**
   * Resolves to true when the message was handed to an open connection, and to false when it never will be: the queue is full, the
   * service was disconnected or has given up, or the transport is Server-Sent Events. Messages sent while offline are queued, and go
   * out in order.
   */
  async send(message: ClientMessage): Promise<boolean> {
    this.#connection ??= this.#createConnection();
    return this.#connection.send(message);
  }

  /** Called for every message, except duplicate events. `count`: how many messages it stands for; above 1 only with `conflateMs`. */
  onMessage(listener: (message: ServerMessage, count: number) => void): () => void {
    return this.#onMessage.add(listener);
  }

  /** Called when the service comes online, before its first message. */
  onConnect(listener: () => void): () => void {
    return this.#onConnect.add(listener);
  }

  /** Called when an online connection ends. */
  onDisconnect(listener: Listener<CloseInfo>): () => void {
    return this.#onDisconnect.add(listener);
  }

  onStatus(listener: Listener<ConnectionStatus>): () => void {
    return this.#onStatus.add(listener);
  }

  /** Called when events may have been missed that cannot be replayed. The application must fetch its state again. */
  onGap(listener: () => void): () => void {
    return this.#onGap.add(listener);
  }

  isConnected(): boolean {
    return this.#status.state === "online";
  }

  get status(): ConnectionStatus {
    return this.#status;
  }

  /** The cursor after the last event that was delivered to the listeners. */
  get lastEventId(): string | undefined {
    return this.#conflation.isEmpty ? this.#events.cursor : this.#deliveredCursor;
  }

  /** The topics that the server confirmed last. */
  get topics(): readonly string[] | undefined {
    return this.#topics;
  }

  /** The totals received last. */
  get totals(): AnalyticsUpdate | undefined {
    return this.#totals;
  }

  #createConnection(): ConnectionControl {
    const options = this.#options;
    const managerOptions: ConnectionManagerOptions = {
      topics: options.topics,
      maxAttempts: options.maxAttempts ?? 5,
      baseDelayMs: options.baseDelayMs ?? 3_000,
      maxDelayMs: options.maxDelayMs ?? 30_000,
      heartbeatMs: options.heartbeatMs ?? 30_000,
      queueLimit: options.queueLimit ?? 100,
    };
    const environment = { ...createEnvironment(options), getCursor: () => this.#events.cursor };
    this.#conflateMs = options.conflateMs ?? 0;
    const onUpdate = (update: ConnectionUpdate): void => this.#handleUpdate(update);
    if (!options.share || !canShare()) return new ConnectionManager(managerOptions, { ...environment, onUpdate });
    return new SharedConnection({
      ...managerOptions,
      name: JSON.stringify(["orderwire", TAB_PROTOCOL_VERSION, endpointUrl(options, "websocket").href, options.topics, options.share]),
      getCursor: environment.getCursor,
      onUpdate,
      createManager: (onLeaderUpdate, topics = managerOptions.topics) =>
        new ConnectionManager({ ...managerOptions, topics }, { ...environment, onUpdate: onLeaderUpdate }),
    });
  }

  #handleUpdate(update: ConnectionUpdate): void {
    switch (update.kind) {
      case "open":
        return this.#handleOpen(update.cursor);
      case "status":
        return this.#handleStatus(update.status, update.closeInfo);
      case "cursor":
        return this.#events.moveCursor(update.cursor);
      case "message":
        return this.#handleMessage(update.message);
    }
  }

  /** The connection sends the events after `cursor`, or only new ones. In a shared connection the cursor is the leader's. */
  #handleOpen(cursor: string | undefined): void {
    const ownCursor = this.#events.cursor;
    if (ownCursor === undefined) {
      this.#gapPending = cursor === undefined && this.#wasOnline;
      if (cursor !== undefined) this.#events.moveCursor(cursor);
      return;
    }
    this.#gapPending = cursor === undefined || !this.#events.includes(cursor);
    if (cursor === undefined && this.#resumeCursor !== ownCursor) {
      // The leader has received no event yet. It reconnects with this tab's cursor.
      this.#gapPending = false;
      this.#resumeCursor = ownCursor;
      this.#connection?.resumeFrom(ownCursor);
    }
  }

  #handleStatus(
    status: ConnectionStatus,
    closeInfo: CloseInfo = { code: ABNORMAL_CLOSURE, reason: "the tab that was connected has gone" },
  ): void {
    const wasConnected = this.isConnected();
    this.#status = status;
    const isConnected = this.isConnected();
    if (wasConnected && !isConnected) this.#deliver();
    this.#onStatus.emit(status);
    if (wasConnected && !isConnected) this.#onDisconnect.emit(closeInfo);
    if (!isConnected) return;
    this.#wasOnline = true;
    if (!wasConnected) this.#onConnect.emit();
    if (this.#gapPending) this.#onGap.emit();
    this.#gapPending = false;
  }

  #handleMessage(message: ServerMessage): void {
    const cursor = this.#events.cursor;
    if (isEvent(message) && !this.#events.add(message.id)) return;
    if (message.type === "subscribed") this.#topics = message.topics;
    if (message.type === "analytics_update") this.#totals = message;
    if (this.#conflation.isEmpty) this.#deliveredCursor = cursor;
    if (this.#conflateMs > 0 && this.#conflation.add(message)) {
      this.#deliveryTimer ??= setTimeout(() => this.#deliver(), this.#conflateMs);
      return;
    }
    const gap = message.type === "resumed" && !message.recovered;
    if (gap) {
      this.#deliver();
      this.#events.clearCursor();
    }
    this.#onMessage.emit(message, 1);
    if (gap) this.#onGap.emit();
  }

  /** Delivers what waits. */
  #deliver(): void {
    clearTimeout(this.#deliveryTimer);
    this.#deliveryTimer = undefined;
    for (const { message, count } of this.#conflation.take()) this.#onMessage.emit(message, count);
  }
}
