/** What the tabs of one browser, that show this page to the same user, agree on: each thing is said once, by one of them. */

import { serverPrefix } from "./server.ts";
import { tokenSubject } from "./token.ts";

/** How many things that were said are remembered. */
const MAX_REMEMBERED = 1_000;
/** In IndexedDB. */
const DATABASE = "orderwire";
const STORE = "claimed";

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
  try {
    return await claimInDatabase(nameOf(purpose), ids);
  } catch {
    return ids.length; // without storage each tab speaks for itself
  }
}

/**
 * Transactions of IndexedDB that write run one after another, those of all tabs, and each reads what the one before has written. That is
 * not so of `localStorage`, not even under a lock: a tab in another process may still read what was there before.
 */
async function claimInDatabase(name: string, ids: readonly string[]): Promise<number> {
  const opening = indexedDB.open(DATABASE);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await new Promise<IDBDatabase>((resolve, reject) => {
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error as DOMException);
  });
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, "readwrite");
      const store = transaction.objectStore(STORE);
      const reading = store.get(name) as IDBRequest<string[] | undefined>;
      let fresh: string[] = [];
      reading.onsuccess = () => {
        const claimed = reading.result ?? [];
        const known = new Set(claimed);
        fresh = ids.filter((id) => !known.has(id));
        if (fresh.length > 0) store.put([...claimed, ...fresh].slice(-MAX_REMEMBERED), name);
      };
      transaction.oncomplete = () => resolve(fresh.length);
      transaction.onabort = () => reject(transaction.error as DOMException);
    });
  } finally {
    database.close();
  }
}
