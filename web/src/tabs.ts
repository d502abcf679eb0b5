/** What the tabs of one browser, that show this page to the same user, agree on: each thing is said once, by one of them. */

import { serverPrefix } from "./server.ts";
import { tokenSubject } from "./token.ts";

/** How many things that were said are remembered. */
const MAX_REMEMBERED = 1_000;

const nameOf = (what: string): string => `orderwire.${what}${serverPrefix()}${tokenSubject() ?? ""}`;

/** Undefined on a page that is not secure: plain HTTP from another machine. */
const lockManager = (): LockManager | undefined => navigator.locks;

let releaseVisible: (() => void) | undefined;
/** Resolves when the lock that this tab holds while it is visible has been released. */
let released: Promise<unknown> = Promise.resolve();

/** Lets the other tabs know whether this one can be seen. Call it once; it follows the visibility from then on. */
export function announceVisibility(): void {
  document.addEventListener("visibilitychange", syncVisibility);
  syncVisibility();
}

function syncVisibility(): void {
  if (document.hidden) {
    releaseVisible?.();
    releaseVisible = undefined;
  } else if (releaseVisible === undefined) {
    const hidden = new Promise<void>((resolve) => (releaseVisible = resolve));
    released = Promise.resolve(lockManager()?.request(nameOf("visible"), { mode: "shared" }, () => hidden)).catch(() => undefined);
  }
}

/** Whether the user can see this page, in this tab or in another one. */
export async function isVisibleInAnyTab(): Promise<boolean> {
  if (!document.hidden) return true;
  syncVisibility();
  await released;
  try {
    const { held = [] } = (await lockManager()?.query()) ?? {};
    return held.some(({ name }) => name === nameOf("visible"));
  } catch {
    return false;
  }
}

/** Of these event ids, how many no tab has claimed for this purpose before. They count as claimed from now on. */
export async function claim(purpose: "notification" | "sound", ids: readonly string[]): Promise<number> {
  const name = nameOf(purpose);
  const claimNow = (): number => {
    const claimed = readClaimed(name);
    const known = new Set(claimed);
    const fresh = ids.filter((id) => !known.has(id));
    if (fresh.length > 0) localStorage.setItem(name, JSON.stringify([...claimed, ...fresh].slice(-MAX_REMEMBERED)));
    return fresh.length;
  };
  try {
    return (await lockManager()?.request(name, claimNow)) ?? claimNow();
  } catch {
    return ids.length; // without storage each tab speaks for itself
  }
}

function readClaimed(name: string): string[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(name) ?? "[]");
    return Array.isArray(stored) ? stored : [];
  } catch {
    return [];
  }
}
