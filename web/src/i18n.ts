import { useSyncExternalStore } from "react";
import en from "../messages/en.json";
import { usePreferences, type Language } from "./preferences.ts";

/** A text, or one text for each plural form that the language has (`Intl.PluralRules`), chosen by the value `count`. */
type Message = string | Partial<Record<Intl.LDMLPluralRule, string>>;

/** The keys of `web/messages/en.json`. A test checks that the other languages have the same keys and values. */
export type MessageKey = keyof typeof en;

/** The text for a key. Each `{name}` in it is replaced by the value of that name; a number is formatted for the language. */
export type Translate = (key: MessageKey, values?: Readonly<Record<string, string | number>>) => string;

type Catalogue = Record<MessageKey, Message>;

/** Languages are loaded when they are needed, but for English, which stands in for one that is not loaded. */
const loaders: Record<Exclude<Language, "en">, () => Promise<{ default: Catalogue }>> = {
  ru: () => import("../messages/ru.json"),
  pl: () => import("../messages/pl.json"),
};

function createTranslate(language: Language, messages: Catalogue): Translate {
  const plural = new Intl.PluralRules(language);
  const number = new Intl.NumberFormat(language);
  return (key, values = {}) => {
    const message = messages[key];
    const text = typeof message === "string" ? message : (message[plural.select(Number(values.count))] ?? message.other ?? key);
    return text.replace(/\{(\w+)\}/g, (placeholder, name: string) => {
      const value = values[name];
      return typeof value === "number" ? number.format(value) : (value ?? placeholder);
    });
  };
}

const english = createTranslate("en", en);
const translators = new Map<Language, Translate>([["en", english]]);
const listeners = new Set<() => void>();

/** Resolves when texts in the language can be had. Rejects when its catalogue cannot be loaded. */
export async function loadLanguage(language: Language): Promise<void> {
  if (language === "en" || translators.has(language)) return;
  const { default: messages } = await loaders[language]();
  translators.set(language, createTranslate(language, messages));
  for (const listener of [...listeners]) listener();
}

/** English while the language is not loaded, which is begun then. */
export function translatorFor(language: Language): Translate {
  const translate = translators.get(language);
  if (translate === undefined) void loadLanguage(language).catch(() => undefined);
  return translate ?? english;
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useTranslate(): Translate {
  const { language } = usePreferences();
  return useSyncExternalStore(subscribe, () => translatorFor(language));
}
