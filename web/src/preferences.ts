import { useSyncExternalStore } from "react";
import { PERIODS, type Period } from "./periods.ts";

export const LANGUAGES = ["en", "ru", "pl"] as const;
export type Language = (typeof LANGUAGES)[number];
export type Theme = "system" | "light" | "dark";

/** The user's choices, stored in `localStorage` and so common to all tabs. */
export interface Preferences {
  language: Language;
  theme: Theme;
  sound: boolean;
  notifications: boolean;
  period: Period;
  savedViews: readonly SavedView[];
  board: BoardPreferences;
}

export interface BoardPreferences {
  /** The statuses with a column; null: all that need work. */
  shown: readonly string[] | null;
  /** Ages in minutes from which a card of the status is shown as late, and as very late. */
  limits: Readonly<Record<string, AgeLimits>>;
  /** A sound for new orders that repeats until it is acknowledged. */
  alarm: boolean;
}

export interface AgeLimits {
  late: number;
  veryLate: number;
}

export const DEFAULT_LIMITS: AgeLimits = { late: 10, veryLate: 20 };

/** A filter that the user has named. */
export interface SavedView {
  name: string;
  /** The query of the list's address. */
  query: string;
}

const STORAGE_KEY = "orderwire.preferences";
const listeners = new Set<() => void>();
let current = load();

function defaults(): Preferences {
  const preferred = navigator.languages.map((tag) => LANGUAGES.find((language) => tag.split("-")[0] === language));
  return {
    language: preferred.find((language) => language !== undefined) ?? "en",
    theme: "system",
    sound: false,
    notifications: false,
    period: "1h",
    savedViews: [],
    board: { shown: null, limits: {}, alarm: false },
  };
}

function load(): Preferences {
  try {
    const stored = { ...defaults(), ...(JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "{}") as Partial<Preferences>) };
    // An earlier version of the page had other periods.
    return PERIODS.includes(stored.period) ? stored : { ...stored, period: "1h" };
  } catch {
    return defaults();
  }
}

function apply(preferences: Preferences): void {
  current = preferences;
  document.documentElement.lang = current.language;
  document.documentElement.dataset.theme = current.theme;
  for (const listener of listeners) listener();
}

/** Applies the stored preferences to the page, and follows changes made in other tabs. */
export function initPreferences(): void {
  apply(current);
  addEventListener("storage", (event) => {
    if (event.key === STORAGE_KEY) apply(load());
  });
}

export function getPreferences(): Preferences {
  return current;
}

export function setPreferences(changes: Partial<Preferences>): void {
  // Store no defaults: the language of the browser may change.
  const stored = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "{}") as Partial<Preferences>;
  localStorage.setItem(STORAGE_KEY, JSON.stringify({ ...stored, ...changes }));
  apply({ ...current, ...changes });
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function usePreferences(): Preferences {
  return useSyncExternalStore(subscribe, getPreferences);
}
