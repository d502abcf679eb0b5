import { type Connection, TOKEN_EXPIRED, type Transport } from "./connection.js";
import type { Environment } from "./connection-manager.js";
import type { Options } from "./options.js";
import { openSse, openWebSocket } from "./transports.js";

/** Throws a TypeError, with a message for developers, if the options and the page give no address. */
export function endpointUrl({ url: address = "/api/ws" }: Options, transport: Transport): URL {
  const url = parseUrl(address);
  if (!url || !/^(http|ws)s?:$/.test(url.protocol))
    throw new TypeError(`option url is "${address}": outside of a web page it must be absolute, with https: or wss:`);
  if (transport === "websocket") {
    url.protocol = url.protocol.replace("http", "ws");
  } else {
    url.protocol = url.protocol.replace("ws", "http");
    url.pathname = url.pathname.replace(/ws$/, "sse");
  }
  return url;
}

function parseUrl(address: string): URL | undefined {
  try {
    return new URL(address, globalThis.location?.href);
  } catch {
    return undefined;
  }
}

/** What the client uses of a browser, or of another JavaScript runtime. Throws a TypeError if that lacks something. */
export function createEnvironment(options: Options): Omit<Environment, "getCursor" | "onUpdate"> {
  endpointUrl(options, "websocket");
  if (!options.WebSocket && !globalThis.WebSocket)
    throw new TypeError("there is no WebSocket here, as in Node before version 22: set option WebSocket to that of the package ws");
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
          if (closed) return;
          connection = transport === "websocket" ? openWebSocket(url, token, handlers, options.WebSocket) : openSse(url, token, handlers);
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
export function listenToNetwork(listener: () => void): () => void {
  const abort = new AbortController();
  const { signal } = abort;
  for (const name of ["online", "offline"]) globalThis.addEventListener?.(name, listener, { signal });
  globalThis.document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && listener(), { signal });
  return () => abort.abort();
}
