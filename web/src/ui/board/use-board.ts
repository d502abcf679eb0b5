import { useEffect, useState, useSyncExternalStore } from "react";
import type { Alarm } from "../../alarm.ts";
import type { Board } from "../../state/board.ts";
import { BoardStore, type BoardSnapshot } from "../../state/board-store.ts";
import { useDashboard, useDashboardStore } from "../use-dashboard.ts";

/** The board with these columns. `version` changes when anything on it may have changed. */
export function useBoard(visible: readonly string[], alarm: Alarm): { board: Board; snapshot: BoardSnapshot; version: string } {
  const store = useDashboardStore();
  const [boardStore] = useState(() => new BoardStore(store, () => alarm.ring()));
  useEffect(() => boardStore.start(), [boardStore]);
  useEffect(() => boardStore.show(visible), [boardStore, visible]);
  const snapshot = useSyncExternalStore(boardStore.subscribe, boardStore.getSnapshot);
  const events = useDashboard((dashboard) => dashboard.version);
  return { board: boardStore.board, snapshot, version: `${snapshot.fetches} ${events}` };
}
