import { moneyFormat, shortMoneyFormat } from "./money.ts";
import { usePreferences, type Language } from "./preferences.ts";

/** Times are in milliseconds since the Unix epoch. */
export interface Format {
  money: (decimal: string) => string;
  shortMoney: (amount: number) => string;
  count: (n: number | bigint) => string;
  percent: (ratio: number) => string;
  /** The time, with the day if that is not today. */
  time: (at: number) => string;
  /** Hours and minutes. */
  clock: (at: number) => string;
  dateTime: (at: number) => string;
}

/** An ISO 4217 code. The server writes its setting CURRENCY into the page. */
const currency = document.documentElement.dataset.currency ?? "PLN";

function createFormat(language: Language): Format {
  // British rather than American conventions: the day before the month, 24 hours.
  const locale = language === "en" ? "en-GB" : language;
  const time = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const dateTime = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
  const count = new Intl.NumberFormat(locale);
  const percent = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });
  return {
    money: moneyFormat(locale, currency),
    shortMoney: shortMoneyFormat(locale, currency),
    count: (n) => count.format(n),
    percent: (ratio) => percent.format(ratio),
    time: (at) => (new Date(at).toDateString() === new Date().toDateString() ? time : day).format(at),
    clock: (at) => clock.format(at),
    dateTime: (at) => dateTime.format(at),
  };
}

const formats = new Map<Language, Format>();

/** Returns the same object for the same language. Creating one takes longer than a hundred uses. */
export function formatFor(language: Language): Format {
  let format = formats.get(language);
  if (format === undefined) formats.set(language, (format = createFormat(language)));
  return format;
}

export function useFormat(): Format {
  return formatFor(usePreferences().language);
}
