/** The token for a server with a login, stored until the tab is closed. */

import { serverPrefix } from "./server.ts";

/** Another server below another prefix of the same host must not get it. */
const storageKey = (): string => `orderwire.token${serverPrefix().slice(0, -1)}`;

export function getToken(): string | null {
  return sessionStorage.getItem(storageKey());
}

/** Null and blank text remove the token. */
export function setToken(token: string | null): void {
  const text = token?.trim();
  if (text) sessionStorage.setItem(storageKey(), text);
  else sessionStorage.removeItem(storageKey());
}

/** The claim `sub` of a token, by default of the stored one. Undefined if there is none, or no token that can be read. */
export function tokenSubject(token = getToken()): string | undefined {
  return textClaim(token, "sub");
}

/** Whom the stored token is for, in words: its claim `name`, else `sub`. Undefined if it has neither. */
export function userName(): string | undefined {
  const token = getToken();
  return textClaim(token, "name") || tokenSubject(token);
}

function textClaim(token: string | null, name: string): string | undefined {
  try {
    const payload = (token ?? "").split(".")[1]?.replaceAll("-", "+").replaceAll("_", "/") ?? "";
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    const claim = (JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>)[name];
    return typeof claim === "string" ? claim : undefined;
  } catch {
    return undefined;
  }
}
