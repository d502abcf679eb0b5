import { lazy, type ComponentType } from "react";
import type { View } from "../route.ts";

/** The views that are loaded when they are first shown. The list is part of the page's first load. */
export const LAZY_VIEWS: Partial<Record<View, ComponentType>> = {
  wall: lazy(() => import("./wall/Wall.tsx")),
  story: lazy(() => import("./story/Story.tsx")),
};

/** What roles other than admin see. */
export const ViewerPage = lazy(() => import("./visitor/ViewerPage.tsx"));
export const CustomerPage = lazy(() => import("./visitor/CustomerPage.tsx"));

export const SignInPage = lazy(() => import("./SignIn.tsx").then(({ SignInPage: default_ }) => ({ default: default_ })));
export const SignInOverlay = lazy(() => import("./SignIn.tsx").then(({ SignInOverlay: default_ }) => ({ default: default_ })));
