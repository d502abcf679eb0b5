import type { LiveSnapshot } from "@orderwire/client/store";
import { scene } from "./scenes.ts";

const status = scene.connection;
const connection: LiveSnapshot = {
  isConnected: status.state === "online",
  status,
  stats: null,
  latestOrder: null,
  events: [],
  sendPing: () => Promise.resolve(false),
};

/** In place of the hook of `@orderwire/client/react`: the connection of the scene. */
export function useWebSocket(): LiveSnapshot {
  return connection;
}
