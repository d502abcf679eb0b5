import type { WebSocketService } from "@orderwire/client";

type Service = Pick<WebSocketService, "onConnect" | "onGap" | "lastEventId">;

/**
 * Calls `refetch` when what was fetched may lack changes: after a gap, and after a reconnect that does not resume, for want of a cursor.
 * After any other reconnect only if `isMissing`: nothing was fetched yet, or the last fetch failed. Returns a function that stops.
 */
export function onMissedEvents(service: Service, isMissing: () => boolean, refetch: () => void): () => void {
  const stops = [
    service.onGap(refetch),
    service.onConnect(() => {
      if (isMissing() || service.lastEventId === undefined) refetch();
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
