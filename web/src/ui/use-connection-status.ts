import type { ConnectionStatus } from "@orderwire/client";
import { useCallback, useEffect, useSyncExternalStore } from "react";
import { useDashboardStore } from "./use-dashboard.ts";

/** Opens the connection. It stays open while the page is there. */
export function useOpenConnection(): void {
  const { service } = useDashboardStore();
  useEffect(() => service.connect(), [service]);
}

/** Re-renders the component only when the status changes. `useWebSocket` does so after every event, 20 times a second. */
export function useConnectionStatus(): ConnectionStatus {
  const { service } = useDashboardStore();
  const subscribe = useCallback((listener: () => void) => service.onStatus(listener), [service]);
  return useSyncExternalStore(subscribe, () => service.status);
}
