import { ABNORMAL_CLOSURE, type Connection, TOKEN_EXPIRED, type Transport } from "./connection.js";
import {
  type CloseInfo,
  type ConnectionControl,
  ConnectionManager,
  type ConnectionManagerOptions,
  type ConnectionStatus,
  type ConnectionUpdate,
  type Environment,
} from "./connection-manager.js";
import { type AnalyticsUpdate, type ClientMessage, isEvent, type ServerMessage } from "./messages.js";
import { ReceivedEvents } from "./received-events.js";
import { canShare, SharedConnection } from "./shared-connection.js";
import { openSse, openWebSocket } from "./transports.js";

export type GetToken = () => string | null | undefined | Promise<string | null | undefined>;

export interface Options {
  /** URL of the WebSocket endpoint; the one for Server-Sent Events is derived from it. Default: `/api/ws` of the page's origin. */
  url?: string;
  /** Topics to subscribe to. Default: chosen by the server, by role. */
  topics?: readonly string[];
  /** Called before each attempt, and before a token expires. */
  getToken?: GetToken;
  /** Consecutive retries before giving up. `Infinity` for a page that stays open. Default: 5. */
  maxAttempts?: number;
  /** Upper bound of the delay before the first retry; doubled for each further one. Default: 3000. */
  baseDelayMs?: number;
  /** Upper bound of any delay. Default: 30000. */
  maxDelayMs?: number;
  /** Interval between heartbeats. Default: 30000, like the server's. */
  heartbeatMs?: number;
  /** How many messages may wait for a connection. Default: 100. */
  queueLimit?: number;
  /** Cursor from which the first connection resumes: the `id` of an event, or `next` of `/api/events`. */
  lastEventId?: string;
  /**
   * Whether the tabs of a browser share one connection, if the browser supports it. Tabs that share must have the same login. A string
   * that identifies the user ensures that: only tabs with the same string share.
   */
  share?: boolean | string;
}

type Listener<T> = (value: T) => void;

class Listeners<T> {
  readonly #entries = new Set<{ listener: Listener<T> }>();

  /** Returns a function that unsubscribes. */
  add(listener: Listener<T>): () => void {
    const entry = { listener };
    this.#entries.add(entry);
    return () => void this.#entries.delete(entry);
  }

  emit(value: T): void {
    for (const { listener } of [...this.#entries]) {
      try {
        listener(value);
      } catch (error) {
        // Report the error as uncaught, and call the remaining listeners.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

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
  #wasOnline = false;
  /** The connection that is being opened starts after events that were not received: report a gap once it is online. */
  #gapPending = false;
  /** The cursor of the last call of `resumeFrom`, which is called once per cursor. */
  #resumeCursor: string | undefined;
  #stopNetworkListeners: (() => void) | undefined;
  readonly #onMessage = new Listeners<ServerMessage>();
  readonly #onConnect = new Listeners<void>();
  readonly #onDisconnect = new Listeners<CloseInfo>();
  readonly #onStatus = new Listeners<ConnectionStatus>();
  readonly #onGap = new Listeners<void>();

  constructor(options: Options = {}) {
    this.#options = options;
    this.#events = new ReceivedEvents(options.lastEventId);
  }

  /** Changes options of an existing instance. Takes effect at the first `connect()`, or at the next one after `disconnect()`. */
  configure(options: Options): void {
    this.#options = { ...this.#options, ...options };
    if (options.lastEventId !== undefined) this.#events.moveCursor(options.lastEventId);
  }

  /** Connects and stays connected. Retries at once if a retry is pending. No effect while connecting or online. */
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
  send(message: ClientMessage): Promise<boolean> {
    this.#connection ??= this.#createConnection();
    return this.#connection.send(message);
  }

  /** Called for every message, except duplicate events. */
  onMessage(listener: Listener<ServerMessage>): () => void {
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

  /** The cursor from which a resume would start. */
  get lastEventId(): string | undefined {
    return this.#events.cursor;
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
    const environment = { ...browserEnvironment(options), getCursor: () => this.#events.cursor };
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
    this.#onStatus.emit(status);
    if (wasConnected && !isConnected) this.#onDisconnect.emit(closeInfo);
    if (!isConnected) return;
    this.#wasOnline = true;
    if (!wasConnected) this.#onConnect.emit();
    if (this.#gapPending) this.#onGap.emit();
    this.#gapPending = false;
  }

  #handleMessage(message: ServerMessage): void {
    if (isEvent(message) && !this.#events.add(message.id)) return;
    if (message.type === "subscribed") this.#topics = message.topics;
    if (message.type === "analytics_update") this.#totals = message;
    const gap = message.type === "resumed" && !message.recovered;
    if (gap) this.#events.clearCursor();
    this.#onMessage.emit(message);
    if (gap) this.#onGap.emit();
  }
}

function endpointUrl(options: Options, transport: Transport): URL {
  const url = new URL(options.url ?? "/api/ws", globalThis.location?.href);
  if (transport === "websocket") {
    url.protocol = url.protocol.replace("http", "ws");
  } else {
    url.protocol = url.protocol.replace("ws", "http");
    url.pathname = url.pathname.replace(/ws$/, "sse");
  }
  return url;
}

function browserEnvironment(options: Options): Omit<Environment, "getCursor" | "onUpdate"> {
  const getToken = async (): Promise<string | null | undefined> => options.getToken?.();
  return {
    now: () => Date.now(),
    random: () => Math.random(),
    setTimer(ms, callback) {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
    getToken,
    open({ transport, cursor, topics }, handlers) {
      const url = endpointUrl(options, transport);
      if (cursor !== undefined) url.searchParams.set("last_event_id", cursor);
      if (topics !== undefined) url.searchParams.set("topics", topics.join());
      let connection: Connection | undefined;
      let closed = false;
      void getToken()
        .then((token) => {
          if (!closed) connection = (transport === "websocket" ? openWebSocket : openSse)(url, token, handlers);
        })
        .catch((error: unknown) => handlers.onClose(TOKEN_EXPIRED, String(error)));
      return {
        send: (text) => !!connection?.send(text),
        close() {
          closed = true;
          connection?.close();
        },
      };
    },
  };
}

/** Calls `listener` when the network changes or the page becomes visible. Returns a function that stops. Works without a DOM. */
function listenToNetwork(listener: () => void): () => void {
  const abort = new AbortController();
  const { signal } = abort;
  for (const name of ["online", "offline"]) globalThis.addEventListener?.(name, listener, { signal });
  globalThis.document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && listener(), { signal });
  return () => abort.abort();
}
