import { ABNORMAL_CLOSURE, type Connection, type ConnectionHandlers, TOKEN_EXPIRED } from "./connection.js";
import type { WebSocketConstructor } from "./options.js";
import { SseParser } from "./sse-parser.js";

type Token = string | null | undefined;

/** `readyState` of an open WebSocket. */
const OPEN = 1;

/** Sends the token as a subprotocol, since a browser cannot set headers on a WebSocket, and URLs are logged. */
export function openWebSocket(
  url: URL,
  token: Token,
  handlers: ConnectionHandlers,
  WebSocketClass: WebSocketConstructor = WebSocket,
): Connection {
  const socket = token ? new WebSocketClass(url, ["orderwire", `bearer.${token}`]) : new WebSocketClass(url);
  socket.onmessage = ({ data }: { data: unknown }) => handlers.onMessage(String(data));
  socket.onclose = ({ code, reason }: { code: number; reason: string }) => handlers.onClose(code, reason);
  // The close event follows. Without a listener the package ws throws the error.
  socket.onerror = () => undefined;
  return {
    send(text) {
      if (socket.readyState !== OPEN) return false;
      socket.send(text);
      return true;
    },
    close: () => socket.close(1000),
  };
}

/** Server-Sent Events over `fetch`, since an `EventSource` cannot send a token and does not report the status of a failure. */
export function openSse(url: URL, token: Token, handlers: ConnectionHandlers): Connection {
  const abort = new AbortController();
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (token) headers["Authorization"] = `Bearer ${token}`;
  const read = async (): Promise<void> => {
    const response = await fetch(url, { headers, cache: "no-store", signal: abort.signal });
    if (!response.ok) {
      // A proxy that blocks WebSocket may answer in place of the server. Its body is not our JSON: reading it throws, and the client
      // retries instead of giving up.
      const { error } = (await response.json()) as { error: { code: string; message: string } };
      return handlers.onClose(error.code === "token_expired" ? TOKEN_EXPIRED : response.status, error.message);
    }
    if (!response.body || !response.headers.get("Content-Type")?.includes("event-stream"))
      return handlers.onClose(ABNORMAL_CLOSURE, "no event stream");
    const parser = new SseParser(handlers);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return handlers.onClose(1000, "the stream ended");
      handlers.onActivity();
      parser.feed(value);
    }
  };
  read().catch((error: unknown) => handlers.onClose(ABNORMAL_CLOSURE, String(error)));
  return {
    send: () => false,
    close: () => abort.abort(),
  };
}
