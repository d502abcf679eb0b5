/** The token of a server with a login: pasted, or brought along as `#token=…`. It lives as long as the tab. */

const KEY = "orderwire.token";

/** Out of the address bar at once: what stands there ends up in histories, bookmarks and screenshots. */
export function takeTokenFromAddress(): void {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  setToken(given);
}

export function getToken(): string | null {
  return sessionStorage.getItem(KEY);
}

export function setToken(token: string | null): void {
  const text = token?.trim();
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}
