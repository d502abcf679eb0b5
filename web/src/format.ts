import { moneyFormat, shortMoneyFormat } from "./money.ts";
import { usePreferences, type Language } from "./preferences.ts";

/** What an event or an order says of itself. */
interface Described {
  customer_name?: string | null;
  total?: string | null;
  currency?: string | null;
}

/** Texts for the user. A time is given as RFC 3339, or in milliseconds since the Unix epoch. */
export interface Format {
  /** Without a currency: that of the server's setting CURRENCY. */
  money: (decimal: string | null, currency?: string | null) => string;
  shortMoney: (amount: number) => string;
  count: (n: number | string) => string;
  percent: (ratio: number) => string;
  /** The time, with the day if that is not today. A date that JavaScript does not know is shown as given. */
  time: (at: string | null) => string;
  dateTime: (at: string | null) => string;
  /** Hours and minutes. */
  clock: (at: number) => string;
  /** The customer and the total, as far as given. */
  summary: (of: Described) => string;
}

/** An ISO 4217 code. The server writes its setting CURRENCY into the page. */
export const mainCurrency = (document.documentElement.dataset.currency ?? "PLN").toUpperCase();

/** For a field that is null. */
const MISSING = "–";

function createFormat(language: Language): Format {
  // British rather than American conventions: the day before the month, 24 hours.
  const locale = language === "en" ? "en-GB" : language;
  const time = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const dateTime = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
  const count = new Intl.NumberFormat(locale);
  const percent = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });
  const formatMoney = moneyFormat(locale);
  const money: Format["money"] = (decimal, currency) => (decimal === null ? MISSING : formatMoney(decimal, currency ?? mainCurrency));
  return {
    money,
    shortMoney: shortMoneyFormat(locale, mainCurrency),
    count: (n) => count.format(n as number),
    percent: (ratio) => percent.format(ratio),
    time: ifDate((at) => (at.toDateString() === new Date().toDateString() ? time : day).format(at)),
    dateTime: ifDate((at) => dateTime.format(at)),
    clock: (at) => clock.format(at),
    summary: ({ customer_name, total, currency }) =>
      [customer_name, total == null ? null : money(total, currency)].filter((part) => part != null).join(" · "),
  };
}

function ifDate(format: (at: Date) => string): (at: string | null) => string {
  return (at) => {
    if (at === null) return MISSING;
    const date = new Date(at);
    return Number.isNaN(date.getTime()) ? at : format(date);
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
