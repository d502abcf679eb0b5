/** The page's addresses: the view is in the path, what it is filtered by in the query. */

import { pagePath } from "./server.ts";

/** The views by their names in the path. The list is the page itself; "order" is `orders/<key>`. */
export const VIEWS = ["list", "board", "wall", "story", "order"] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  readonly view: View;
  /** Only of the view "order". */
  readonly orderKey: string | null;
  /** Without the question mark. */
  readonly query: string;
}

const listeners = new Set<() => void>();
let current: Route | undefined;

/** The route of a path below the page and its query. A path of no view is the list. */
export function parseRoute(pathname: string, search: string, page = pagePath()): Route {
  const query = search.replace(/^\?/, "");
  const [name = "", key] = pathname.slice(page.length).replace(/^\//, "").split("/");
  if (name === "orders" && key) return { view: "order", orderKey: decodeKey(key), query };
  const view = VIEWS.find((known) => known === name && known !== "order") ?? "list";
  return { view, orderKey: null, query };
}

/** A key that is not percent-encoded correctly is taken literally. */
function decodeKey(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a view other than "order". The query is without the question mark. */
export function viewHref(view: Exclude<View, "order">, query = ""): string {
  return `${pagePath()}${view === "list" ? "" : `/${view}`}${query === "" ? "" : `?${query}`}`;
}

export function orderHref(key: string): string {
  return `${pagePath()}/orders/${encodeURIComponent(key)}`;
}

/** The same object until the address changes. */
export function currentRoute(): Route {
  return (current ??= parseRoute(location.pathname, location.search));
}

/** Goes to an address of the page. With `replace` the browser's back button skips the present one. */
export function navigate(href: string, { replace = false } = {}): void {
  if (replace) history.replaceState(history.state, "", href);
  else history.pushState(null, "", href);
  onChange();
}

export function subscribeRoute(listener: () => void): () => void {
  if (listeners.size === 0) addEventListener("popstate", onChange);
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) removeEventListener("popstate", onChange);
  };
}

function onChange(): void {
  current = undefined;
  for (const listener of [...listeners]) listener();
}
