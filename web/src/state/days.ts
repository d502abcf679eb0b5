/** Days of the shop's time zone. A day is written as in ISO 8601: 2026-01-31. */

const DAY_MS = 86_400_000;
const ISO_DAY = /^\d{4}-\d{2}-\d{2}$/;

/** Whether it is a day of the calendar. */
export function isDay(text: string): boolean {
  return ISO_DAY.test(text) && addDays(text, 0) === text;
}

/** The day at a time in milliseconds since the Unix epoch. */
export function dayAt(ms: number, timeZone: string | undefined): string {
  return new Date(ms + zoneOffset(ms, timeZone)).toISOString().slice(0, 10);
}

export function addDays(day: string, days: number): string {
  const ms = Date.parse(`${day}T00:00:00Z`) + days * DAY_MS;
  return Number.isNaN(ms) ? "" : new Date(ms).toISOString().slice(0, 10);
}

/** When the day begins, in milliseconds since the Unix epoch. */
export function startOfDay(day: string, timeZone: string | undefined): number {
  const utc = Date.parse(`${day}T00:00:00Z`);
  // The offset at the beginning of the day is not known yet: that at the first guess is, unless the clocks change in between.
  const guess = utc - zoneOffset(utc, timeZone);
  return utc - zoneOffset(guess, timeZone);
}

const formats = new Map<string | undefined, Intl.DateTimeFormat>();

function formatOf(timeZone: string | undefined): Intl.DateTimeFormat {
  let format = formats.get(timeZone);
  if (format === undefined) {
    const options = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" } as const;
    try {
      format = new Intl.DateTimeFormat("en-GB", { ...options, ...(timeZone && { timeZone }) });
    } catch {
      format = new Intl.DateTimeFormat("en-GB", options); // a zone that the browser does not know
    }
    formats.set(timeZone, format);
  }
  return format;
}

/** What the zone's clock is ahead of UTC at that time, in milliseconds. */
function zoneOffset(ms: number, timeZone: string | undefined): number {
  const parts = Object.fromEntries(formatOf(timeZone).formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(ms / 1000) * 1000;
}
