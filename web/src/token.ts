/** The token for a server with a login: entered by the user, or given in the URL as `#token=…`. Stored until the tab is closed. */

import { serverPrefix } from "./server.ts";

/** Another server below another prefix of the same host must not get it. */
const storageKey = (): string => `orderwire.token${serverPrefix().slice(0, -1)}`;

/** Stores the token of the URL, and removes it there, so that it does not end up in histories, bookmarks and screenshots. */
export function readTokenFromUrl(): void {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  setToken(token);
}

export function getToken(): string | null {
  return sessionStorage.getItem(storageKey());
}

/** Null and blank text remove the token. */
export function setToken(token: string | null): void {
  const text = token?.trim();
  if (text) sessionStorage.setItem(storageKey(), text);
  else sessionStorage.removeItem(storageKey());
}
