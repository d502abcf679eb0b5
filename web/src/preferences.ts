import { useSyncExternalStore } from "react";
import type { Period } from "./state/summary.ts";

export type Language = "ru" | "en";
export type Theme = "system" | "light" | "dark";

/** What a person has chosen; kept in the browser, and the same in all its tabs. */
export interface Preferences {
  language: Language;
  theme: Theme;
  sound: boolean;
  notifications: boolean;
  period: Period;
}

const KEY = "orderwire.preferences";
const listeners = new Set<() => void>();
let current = read();

function defaults(): Preferences {
  const spoken = navigator.languages.find((language) => /^(ru|en)\b/.test(language)) ?? "en";
  return { language: spoken.startsWith("ru") ? "ru" : "en", theme: "system", sound: false, notifications: false, period: "1h" };
}

function read(): Preferences {
  try {
    return { ...defaults(), ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Preferences>) };
  } catch {
    return defaults();
  }
}

function use(preferences: Preferences): void {
  current = preferences;
  document.documentElement.lang = current.language;
  document.documentElement.dataset.theme = current.theme;
  for (const listener of listeners) listener();
}

export function startPreferences(): void {
  use(current);
  addEventListener("storage", (event) => {
    if (event.key === KEY) use(read());
  });
}

export function preferences(): Preferences {
  return current;
}

export function prefer(changes: Partial<Preferences>): void {
  // Only what was chosen is kept: the language of a browser may change.
  const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Preferences>;
  localStorage.setItem(KEY, JSON.stringify({ ...kept, ...changes }));
  use({ ...current, ...changes });
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function usePreferences(): Preferences {
  return useSyncExternalStore(subscribe, preferences);
}
