export type Transport = "websocket" | "sse";

/** The parts of a connection's URL that change from one attempt to the next. */
export interface ConnectParams {
  transport: Transport;
  cursor: string | undefined;
  topics: readonly string[] | undefined;
}

/** One network connection on either transport. Its handlers must be ignored after `close()`. */
export interface Connection {
  /** Returns false if the text was not sent: the connection is not open, or its `onClose` is still to come. */
  send(text: string): boolean;
  close(): void;
}

export interface ConnectionHandlers {
  onMessage(text: string): void;
  /** The server sent a cursor without an event. */
  onCursor(cursor: string): void;
  /** Bytes arrived that may not be a message, such as an SSE comment. */
  onActivity(): void;
  /** `code` is a WebSocket close code, or the HTTP status of a rejected request. */
  onClose(code: number, reason: string): void;
}

/** RFC 6455, section 7.4.1: reported by the browser when no close frame was received. */
export const ABNORMAL_CLOSURE = 1006;
/** Close code of the server: reconnect with a new token. */
export const TOKEN_EXPIRED = 3005;
