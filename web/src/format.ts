import { moneyFormat, shortMoneyFormat } from "./money.ts";
import { usePreferences, type Language } from "./preferences.ts";

/** What an event or an order says of itself. */
export interface Described {
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
  /** Hours and minutes, in this browser's time zone. */
  clock: (at: number) => string;
  /** With seconds. */
  clockSeconds: (at: number) => string;
  /** The same as `clock` in another time zone, an IANA name, and with the day of the week if `withDay`. */
  clockIn: (at: number, timeZone: string, withDay: boolean) => string;
  /** A number of bytes. */
  size: (bytes: number) => string;
  /** In the two largest units, such as "2 min 5 s". */
  duration: (ms: number) => string;
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
  const clocks = new Map<string, Intl.DateTimeFormat>();
  const clockIn: Format["clockIn"] = (at, timeZone, withDay) => {
    const name = `${timeZone} ${withDay}`;
    let format = clocks.get(name);
    if (format === undefined) clocks.set(name, (format = zonedClock(locale, timeZone, withDay)));
    return ifTime(format)(at);
  };
  const unit = (name: string) => new Intl.NumberFormat(locale, { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: 0 });
  const [kilobytes, megabytes] = [unit("kilobyte"), unit("megabyte")];
  const units = UNITS.map(([name, seconds]) => ({ seconds, format: unit(name) }));
  const money: Format["money"] = (decimal, currency) => (decimal === null ? MISSING : formatMoney(decimal, currency ?? mainCurrency));
  return {
    money,
    shortMoney: shortMoneyFormat(locale, mainCurrency),
    count: (n) => count.format(n as number),
    percent: (ratio) => percent.format(ratio),
    time: ifDate((at) => (at.toDateString() === new Date().toDateString() ? time : day).format(at)),
    dateTime: ifDate((at) => dateTime.format(at)),
    clock: ifTime(clock),
    clockSeconds: ifTime(time),
    clockIn,
    size: (bytes) => (bytes < 1e6 ? kilobytes.format(bytes / 1e3) : megabytes.format(bytes / 1e6)),
    duration(ms) {
      const total = Math.max(0, Math.floor(ms / 1000));
      const first = units.findIndex(({ seconds }) => total >= seconds);
      const shown = units.slice(first < 0 ? -1 : first).slice(0, 2);
      let rest = total;
      const parts = shown.map(({ seconds, format }) => {
        const amount = Math.floor(rest / seconds);
        rest -= amount * seconds;
        return { amount, text: format.format(amount) };
      });
      return parts.filter(({ amount }, index) => index === 0 || amount > 0).map(({ text }) => text).join(" ");
    },
    summary: ({ customer_name, total, currency }) =>
      [customer_name == null ? null : isolated(customer_name), total == null ? null : money(total, currency)].filter((part) => part != null).join(" · "),
  };
}

/** Letters that are written from right to left. */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

/** The text with marks that keep it from turning around what stands beside it, where that could happen. */
function isolated(text: string): string {
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
}

const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]] as const;

function zonedClock(locale: string, timeZone: string, withDay: boolean): Intl.DateTimeFormat {
  const options: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };
  if (withDay) options.weekday = "short";
  try {
    return new Intl.DateTimeFormat(locale, { ...options, timeZone });
  } catch {
    return new Intl.DateTimeFormat(locale, options); // a zone that the browser does not know
  }
}

/** A time that is none, as of a date that JavaScript does not know, would throw. */
function ifTime(format: Intl.DateTimeFormat): (at: number) => string {
  return (at) => (Number.isNaN(new Date(at).getTime()) ? MISSING : format.format(at));
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
