import { useSyncExternalStore } from "react";
import { useTranslate } from "../i18n.ts";
import type { StatusChangesSnapshot } from "../state/status-change.ts";
import { writeBlock } from "../state/status-rules.ts";
import { useConnectionStatus } from "./use-connection-status.ts";
import { useDashboard, useDashboardStore } from "./use-dashboard.ts";

export function useStatusChanges(): StatusChangesSnapshot {
  const { statusChanges } = useDashboardStore();
  return useSyncExternalStore(statusChanges.subscribe, statusChanges.getSnapshot);
}

/** Why the user cannot change the status of orders, in words; null if they can. */
export function useWriteBlock(): string | null {
  const t = useTranslate();
  const block = useDashboard((snapshot) => writeBlock(snapshot.meta));
  const { state } = useConnectionStatus();
  if (block !== null) return t(`writeBlock.${block}`);
  return state === "online" ? null : t("writeBlock.offline");
}
