import { usePreferences, type Language } from "./preferences.ts";

const UNITS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1_000],
] as const;

export type FormatDuration = (ms: number) => string;

/** A duration in its two largest units, such as "3 min 20 s"; below a second with one decimal. */
function createFormat(language: Language): FormatDuration {
  const locale = language === "en" ? "en-GB" : language;
  const options = { style: "unit", unitDisplay: "short" } as const;
  const formats = UNITS.map(([unit]) => new Intl.NumberFormat(locale, { ...options, unit, maximumFractionDigits: 0 }));
  const tenths = new Intl.NumberFormat(locale, { ...options, unit: "second", maximumFractionDigits: 1 });
  return (ms) => {
    const whole = Math.max(0, ms);
    if (whole < 950) return tenths.format(whole / 1000);
    // Rounded to the smaller of the two units, so that 59.9 s are a minute.
    const rounding = whole >= 86_400_000 ? 3_600_000 : whole >= 3_600_000 ? 60_000 : 1_000;
    let rest = Math.round(whole / rounding) * rounding;
    const parts: string[] = [];
    for (const [index, [, length]] of UNITS.entries()) {
      const count = Math.floor(rest / length);
      rest -= count * length;
      if (count > 0) parts.push((formats[index] as Intl.NumberFormat).format(count));
      if (parts.length === 2 || (parts.length === 1 && count === 0)) break;
    }
    return parts.join(" ");
  };
}

const formats = new Map<Language, FormatDuration>();

export function durationFormatFor(language: Language): FormatDuration {
  let format = formats.get(language);
  if (format === undefined) formats.set(language, (format = createFormat(language)));
  return format;
}

export function useDurationFormat(): FormatDuration {
  return durationFormatFor(usePreferences().language);
}
