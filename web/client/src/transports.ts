import { type Line, type LineEvents, LOST, TOKEN_EXPIRED } from "./line.js";
import { SseParser } from "./sse.js";

export type OpenLine = (url: URL, token: string | null | undefined, events: LineEvents) => Line;

/** The token travels as a subprotocol: a browser can set no header, and an address ends up in logs. */
export const openWebSocket: OpenLine = (url, token, events) => {
  const socket = token ? new WebSocket(url, ["orderwire", `bearer.${token}`]) : new WebSocket(url);
  socket.onmessage = ({ data }) => events.frame(String(data));
  socket.onclose = ({ code, reason }) => events.closed(code, reason);
  return {
    write(text) {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(text);
      return true;
    },
    close: () => socket.close(1000),
  };
};

/** Server-Sent Events by fetch: an EventSource can carry no token and does not tell why it failed. */
export const openSse: OpenLine = (url, token, events) => {
  const abort = new AbortController();
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (token) headers["Authorization"] = `Bearer ${token}`;
  const read = async (): Promise<void> => {
    const response = await fetch(url, { headers, cache: "no-store", signal: abort.signal });
    if (!response.ok) {
      // Whoever blocks WebSocket may also answer in the server's place. That is not JSON, fails here, and does not count as a no.
      const { error } = (await response.json()) as { error: { code: string; message: string } };
      return events.closed(error.code === "token_expired" ? TOKEN_EXPIRED : response.status, error.message);
    }
    if (!response.body || !response.headers.get("Content-Type")?.includes("event-stream")) return events.closed(LOST, "no event stream");
    const parser = new SseParser(events);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return events.closed(1000, "the stream has ended");
      events.alive();
      parser.feed(value);
    }
  };
  read().catch((error: unknown) => events.closed(LOST, String(error)));
  return {
    write: () => false,
    close: () => abort.abort(),
  };
};
