import type { ConnectionStatus, WebSocketService } from "@orderwire/client";

/** A connection that keeps its state and brings no message. */
export function fixedService(status: ConnectionStatus): WebSocketService {
  const nothing = () => {};
  const subscribe = () => nothing;
  return {
    status,
    lastEventId: undefined,
    isConnected: () => status.state === "online",
    onStatus: subscribe,
    onMessage: subscribe,
    onConnect: subscribe,
    onGap: subscribe,
  } as unknown as WebSocketService;
}
