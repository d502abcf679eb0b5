import { mainCurrency, type Format } from "../format.ts";
import type { SeriesColumn, SeriesView } from "../state/series.ts";

/** From when to when the column is, in the shop's time zone. */
export function columnTime({ from, to }: SeriesColumn, { timeZone, period }: SeriesView, format: Format): string {
  return `${format.clockIn(from, timeZone, period === "7d")}–${format.clockIn(to, timeZone, false)}`;
}

/** The revenue of each currency. */
export function revenueText({ revenue, otherRevenue }: SeriesColumn, format: Format): string {
  return [[mainCurrency, revenue] as const, ...otherRevenue].map(([currency, amount]) => format.money(amount, currency)).join(" · ");
}
