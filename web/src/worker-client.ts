/** The page's side of the service worker (worker/worker.ts), and what an upgrade of the server means for an open page. */

import { navigate } from "./route.ts";
import { pagePath, serverPrefix } from "./server.ts";

/** What the offline page shows, in the user's language. */
export interface LastKnown {
  language: string;
  title: string;
  /** Says as of when it was so. */
  asOf: string;
  totals: { label: string; value: string }[];
  retry: string;
}

const RELOAD_KEY = "orderwire.reloaded-at";
/** If the files are still missing this soon after a reload, another one would not help. */
const MIN_RELOAD_INTERVAL_MS = 30_000;

/** Without effect where the browser has no service workers, as on a page that is not secure. */
export function registerWorker(): void {
  const { serviceWorker } = navigator;
  if (serviceWorker === undefined) return;
  // The plain page of a server without a build has no worker. The page works without one.
  serviceWorker.register(`${serverPrefix()}admin/worker.js`, { scope: pagePath() }).catch(() => undefined);
  serviceWorker.addEventListener("message", ({ data }: MessageEvent<{ type?: string; href?: string }>) => {
    if (data.type === "open" && data.href !== undefined) navigate(data.href);
  });
}

/** Stores what the offline page shows. */
export function rememberLastKnown(known: LastKnown): void {
  navigator.serviceWorker?.controller?.postMessage({ type: "known", known });
}

/**
 * A view whose files an upgraded server does not have any more is loaded with the whole page anew. Not while the server is away: the
 * page would be lost.
 */
export function reloadAfterUpgrade(): void {
  addEventListener("vite:preloadError", () => void reloadIfUpgraded().catch(() => undefined));
}

async function reloadIfUpgraded(): Promise<void> {
  const script = document.querySelector<HTMLScriptElement>("script[type=module]")?.getAttribute("src");
  if (script == null || Date.now() - Number(sessionStorage.getItem(RELOAD_KEY)) < MIN_RELOAD_INTERVAL_MS) return;
  const response = await fetch(pagePath(), { cache: "no-store" });
  const name = script.slice(script.lastIndexOf("/") + 1);
  if (!response.ok || (await response.text()).includes(name)) return;
  sessionStorage.setItem(RELOAD_KEY, String(Date.now()));
  location.reload();
}
