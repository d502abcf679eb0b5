import { mainCurrency } from "../../format.ts";
import { usePreferences, type Language } from "../../preferences.ts";

export interface WallFormat {
  /** An amount in the main currency, without its fraction, which cannot be read from a distance. */
  wholeMoney: (decimal: string) => string;
  /** Weekday, date, hours and minutes of a time in milliseconds, in a time zone; by default in that of the browser. */
  dayAndClock: (at: number, timeZone: string | undefined) => string;
}

export function wallFormat(language: Language): WallFormat {
  const locale = language === "en" ? "en-GB" : language;
  return {
    wholeMoney: (decimal) => wholeMoneyFormat(locale).format(decimal as `${number}`),
    dayAndClock: (at, timeZone) => dayAndClockFormat(locale, timeZone).format(at),
  };
}

function wholeMoneyFormat(locale: string): Intl.NumberFormat {
  const digits = { minimumFractionDigits: 0, maximumFractionDigits: 0 };
  try {
    return new Intl.NumberFormat(locale, { style: "currency", currency: mainCurrency, currencyDisplay: "narrowSymbol", ...digits });
  } catch {
    return new Intl.NumberFormat(locale, digits); // the setting is no ISO 4217 code
  }
}

function dayAndClockFormat(locale: string, timeZone: string | undefined): Intl.DateTimeFormat {
  const fields = { weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" } as const;
  try {
    return new Intl.DateTimeFormat(locale, { ...fields, timeZone });
  } catch {
    return new Intl.DateTimeFormat(locale, fields); // the browser does not know the zone
  }
}

export function useWallFormat(): WallFormat {
  return wallFormat(usePreferences().language);
}
