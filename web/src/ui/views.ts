import type { ComponentType } from "react";
import type { View } from "../route.ts";
import { lazyComponent } from "./lazy-component.tsx";
import { ViewNotLoaded } from "./ViewNotLoaded.tsx";

/** The views that are loaded when they are first shown. The list is part of the page's first load. */
export const LAZY_VIEWS: Partial<Record<View, ComponentType>> = {
  board: view(() => import("./board/BoardView.tsx").then((module) => module.BoardView)),
  order: view(() => import("./order/OrderView.tsx").then((module) => module.OrderView)),
  wall: view(() => import("./wall/Wall.tsx").then((module) => module.default)),
  story: view(() => import("./story/Story.tsx").then((module) => module.default)),
};

/** What roles other than admin see. */
export const ViewerPage = view(() => import("./visitor/ViewerPage.tsx").then((module) => module.default));
export const CustomerPage = view(() => import("./visitor/CustomerPage.tsx").then((module) => module.default));

export const SignInPage = view(() => import("./SignIn.tsx").then((module) => module.SignInPage));
export const SignInOverlay = view(() => import("./SignIn.tsx").then((module) => module.SignInOverlay));

function view(load: () => Promise<ComponentType>): ComponentType {
  return lazyComponent(load, ViewNotLoaded);
}
