/**
 * Signing in at the address of the server's setting LOGIN_URL, and out. The page sends `return_to` and a random `state` there, and takes
 * `#token=…&state=…` back: a token that another site sends, without the state that this tab has stored, is refused.
 */

import { navigate } from "./route.ts";
import { serverPrefix } from "./server.ts";
import { getToken, setToken } from "./token.ts";

/** Why the return from LOGIN_URL did not sign the user in. "refused": LOGIN_URL says so. */
export type LoginProblem = "wrong-state" | "refused";

interface PendingLogin {
  state: string;
  /** The path and query of the page that the user was on. */
  returnTo: string;
}

const pendingKey = (): string => `orderwire.login${serverPrefix()}`;
const signedOutKey = (): string => `orderwire.signed-out${serverPrefix()}`;

let problem: LoginProblem | null = null;

/** The problem of the return from LOGIN_URL that loaded this page. */
export const loginProblem = (): LoginProblem | null => problem;

/** The address to go to, or undefined if LOGIN_URL is no web address. Stores the state and the present address for the return. */
export function startLogin(loginUrl: string): string | undefined {
  if (!URL.canParse(loginUrl, location.href)) return undefined;
  const url = new URL(loginUrl, location.href);
  if (!["http:", "https:"].includes(url.protocol)) return undefined;
  const returnTo = location.pathname + location.search;
  const state = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  sessionStorage.setItem(pendingKey(), JSON.stringify({ state, returnTo } satisfies PendingLogin));
  url.searchParams.set("return_to", location.origin + returnTo);
  url.searchParams.set("state", state);
  return url.href;
}

/**
 * Takes the token out of the address, so that it does not end up in histories, bookmarks and screenshots. A link with a token and no
 * state signs in as well, but not while a sign-in at LOGIN_URL is under way.
 */
export function readTokenFromUrl(): void {
  const given = new URLSearchParams(location.hash.slice(1));
  const [token, state, error] = ["token", "state", "error"].map((name) => given.get(name));
  if (token == null && (error == null || state == null)) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  const pending = readPending();
  if ((state ?? undefined) !== pending?.state) {
    problem = "wrong-state";
    return;
  }
  if (pending !== undefined) navigate(pending.returnTo, { replace: true });
  if (token == null) {
    problem = "refused";
    return;
  }
  endLogin();
  setToken(token);
}

function readPending(): PendingLogin | undefined {
  const stored = sessionStorage.getItem(pendingKey());
  return stored === null ? undefined : (JSON.parse(stored) as PendingLogin);
}

/** Whether the page may go to LOGIN_URL by itself: not after a sign-out, and not a second time, so that it goes in no circles. */
export function mayRedirect(): boolean {
  return getToken() === null && problem === null && readPending() === undefined && sessionStorage.getItem(signedOutKey()) === null;
}

/** Called when a token is stored: what was under way is over. */
export function endLogin(): void {
  problem = null;
  sessionStorage.removeItem(pendingKey());
  sessionStorage.removeItem(signedOutKey());
}

/** Forgets the token, and loads the same view anew, without what it was filtered by: that may hold a name. */
export function signOut(): void {
  setToken(null);
  sessionStorage.removeItem(pendingKey());
  sessionStorage.setItem(signedOutKey(), "1");
  navigator.serviceWorker?.controller?.postMessage({ type: "forget" });
  location.assign(location.pathname);
}
