import { createContext, use, useSyncExternalStore } from "react";
import type { Live, View } from "../state/live.ts";

export const LiveContext = createContext<Live | null>(null);

export function useLive(): Live {
  const live = use(LiveContext);
  if (live === null) throw new Error("outside of LiveContext");
  return live;
}

/** Only the part that `pick` takes: who picks what did not change is not drawn again. */
export function useView<T>(pick: (view: View) => T): T {
  const live = useLive();
  return useSyncExternalStore(live.subscribe, () => pick(live.getView()));
}
