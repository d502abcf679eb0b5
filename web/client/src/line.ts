export type Transport = "websocket" | "sse";

/** Where to connect: what of the address changes from one attempt to the next. */
export interface Target {
  transport: Transport;
  cursor: string | undefined;
  topics: readonly string[] | undefined;
}

/** One connection, on whatever transport. After `close` nothing that it says counts. */
export interface Line {
  /** Whether it could be written: a line may have ended without having said so yet. */
  write(text: string): boolean;
  close(): void;
}

export interface LineEvents {
  frame(text: string): void;
  /** A cursor that comes without an event. */
  position(cursor: string): void;
  /** A sign of life that is no frame. */
  alive(): void;
  closed(code: number, reason: string): void;
}

/** What a browser says when a connection failed, or was cut without a word. */
export const LOST = 1006;
/** What the server says when a token has run out: come back with another. */
export const TOKEN_EXPIRED = 3005;
