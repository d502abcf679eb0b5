import { lazy, type ComponentType } from "react";
import type { View } from "../route.ts";

/** The views that are loaded when they are first shown. The list is part of the page's first load. */
export const LAZY_VIEWS: Partial<Record<View, ComponentType>> = {
  board: lazy(() => import("./board/BoardView.tsx").then((module) => ({ default: module.BoardView }))),
  order: lazy(() => import("./order/OrderView.tsx").then((module) => ({ default: module.OrderView }))),
};
