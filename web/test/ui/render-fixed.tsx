import { cleanup, render } from "@testing-library/react";
import type { ReactNode } from "react";
import { afterEach, beforeEach, vi } from "vitest";
import { fixedStore, type StoreContents } from "../../gallery/fixed-store.ts";
import { setPreferences } from "../../src/preferences.ts";
import { DashboardContext } from "../../src/ui/use-dashboard.ts";

const META = { statuses: ["pending", "ready", "cancelled"], cancelled: ["cancelled"], table: "public.orders" };

beforeEach(() => {
  localStorage.clear();
  setPreferences({ language: "en", savedViews: [] });
});
afterEach(() => {
  cleanup();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Renders a component with a store that never changes; for components whose behaviour follows from what they are given. */
export function renderFixed(component: ReactNode, contents: Partial<StoreContents> = {}) {
  const withStore = (child: ReactNode, given: Partial<StoreContents>) => (
    <DashboardContext value={fixedStore({ meta: META, orders: [], ...given })}>{child}</DashboardContext>
  );
  const view = render(withStore(component, contents));
  /** The same component, with other contents of the store. */
  const update = (next: Partial<StoreContents>) => view.rerender(withStore(component, next));
  const rerender = (next: ReactNode) => view.rerender(withStore(next, contents));
  return { ...view, update, rerender };
}

/** Answers the requests of the page, one after the other: a body, an HTTP status, or an error that `fetch` rejects with. */
export function answer(...answers: (object | number | Error)[]): string[] {
  const requested: string[] = [];
  vi.stubGlobal("fetch", async (path: string) => {
    requested.push(path);
    const next = answers.shift();
    if (next === undefined) throw new Error(`unexpected request: ${path}`);
    if (next instanceof Error) throw next;
    return typeof next === "number" ? new Response(null, { status: next }) : Response.json(next);
  });
  return requested;
}
