import { moneyFormat, shortMoneyFormat } from "./money.ts";
import { usePreferences, type Language } from "./preferences.ts";

export interface Format {
  money: (decimal: string) => string;
  shortMoney: (amount: number) => string;
  count: (n: number | bigint) => string;
  percent: (share: number) => string;
  /** Today the time, else the day as well. */
  time: (at: number) => string;
  clock: (at: number) => string;
  full: (at: number) => string;
}

/** An ISO 4217 code; the server writes its setting into the page. */
const currency = document.documentElement.dataset.currency ?? "PLN";

function makeFormat(language: Language): Format {
  // English as most of the world writes it: the day before the month, 24 hours.
  const locale = language === "en" ? "en-GB" : language;
  const clock = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
  const short = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const full = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
  const count = new Intl.NumberFormat(locale);
  const percent = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });
  return {
    money: moneyFormat(locale, currency),
    shortMoney: shortMoneyFormat(locale, currency),
    count: (n) => count.format(n),
    percent: (share) => percent.format(share),
    time: (at) => (new Date(at).toDateString() === new Date().toDateString() ? clock : day).format(at),
    clock: (at) => short.format(at),
    full: (at) => full.format(at),
  };
}

const made = new Map<Language, Format>();

/** The same object for the same language: making the formats takes longer than a hundred uses. */
export function formatFor(language: Language): Format {
  let format = made.get(language);
  if (format === undefined) made.set(language, (format = makeFormat(language)));
  return format;
}

export function useFormat(): Format {
  return formatFor(usePreferences().language);
}
