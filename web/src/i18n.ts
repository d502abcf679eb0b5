import en from "../messages/en.json";
import pl from "../messages/pl.json";
import ru from "../messages/ru.json";
import { usePreferences, type Language } from "./preferences.ts";

/** A text, or one text for each plural form that the language has (`Intl.PluralRules`), chosen by the value `count`. */
type Message = string | Partial<Record<Intl.LDMLPluralRule, string>>;

/** The keys of `web/messages/en.json`. A test checks that the other languages have the same keys and values. */
export type MessageKey = keyof typeof en;

/** The text for a key. Each `{name}` in it is replaced by the value of that name; a number is formatted for the language. */
export type Translate = (key: MessageKey, values?: Readonly<Record<string, string | number>>) => string;

const catalogues: Record<Language, Record<MessageKey, Message>> = { en, ru, pl };

function createTranslate(language: Language): Translate {
  const messages = catalogues[language];
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

const translators: Record<Language, Translate> = { en: createTranslate("en"), ru: createTranslate("ru"), pl: createTranslate("pl") };

export function translatorFor(language: Language): Translate {
  return translators[language];
}

export function useTranslate(): Translate {
  return translators[usePreferences().language];
}
