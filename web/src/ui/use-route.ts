import { useSyncExternalStore } from "react";
import { currentRoute, subscribeRoute, type Route } from "../route.ts";

export function useRoute(): Route {
  return useSyncExternalStore(subscribeRoute, currentRoute);
}
