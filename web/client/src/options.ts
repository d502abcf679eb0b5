export type GetToken = () => string | null | undefined | Promise<string | null | undefined>;

/** The part of the standard WebSocket that the client uses. Browsers, Node 22 and the packages `ws` and `undici` have it. */
export interface WebSocketLike {
  readonly readyState: number;
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  send(text: string): void;
  close(code?: number): void;
}

export type WebSocketConstructor = new (url: URL, protocols?: string[]) => WebSocketLike;

export interface Options {
  /**
   * URL of the WebSocket endpoint; the one for Server-Sent Events is derived from it. Default: `/api/ws` of the page's origin. Needed
   * outside of a web page.
   */
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
  /**
   * Conflates events for a view that cannot show each: they wait for up to this time, and the changes of one order that follow each other
   * in it are delivered as one event. Default: 0, each event by itself.
   */
  conflateMs?: number;
  /** The class of the WebSocket. Default: the global one, which Node has from version 22 on. */
  WebSocket?: WebSocketConstructor;
}
