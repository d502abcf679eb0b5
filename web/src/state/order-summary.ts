import type { AnalyticsUpdate } from "@orderwire/client";
import { DecimalSum } from "../money.ts";

/** Statuses that the map does not list, beyond which a filter would be no use. */
const MAX_UNLISTED_STATUSES = 30;

/** The server's revenue in the main currency, as a decimal string. */
export function mainRevenue({ total_revenue, revenue_by_currency }: AnalyticsUpdate, mainCurrency: string): string {
  if (revenue_by_currency === undefined) return total_revenue;
  const sum = new DecimalSum();
  for (const [currency, amount] of Object.entries(revenue_by_currency)) if (isSame(currency, mainCurrency)) sum.add(amount);
  return String(sum);
}

/** The server's revenue of the currencies other than the main one: code and decimal string. */
export function otherRevenue(byCurrency: Readonly<Record<string, string>> = {}, mainCurrency: string): [string, string][] {
  return Object.entries(byCurrency).filter(([currency]) => !isSame(currency, mainCurrency)).sort(byText);
}

/** Some tables have small letters in their codes. */
function isSame(currency: string, mainCurrency: string): boolean {
  return currency.toUpperCase() === mainCurrency;
}

function byText([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : 1;
}

/**
 * All statuses: those of the table's map in its order, then others that orders have, by name; last "" if there are orders without one.
 */
export function listStatuses(listed: readonly string[], counts: ReadonlyMap<string, number>): string[] {
  const unlisted = [...counts]
    .filter(([status]) => status !== "" && !listed.includes(status))
    .sort(([, a], [, b]) => b - a)
    .slice(0, MAX_UNLISTED_STATUSES)
    .sort(byText)
    .map(([status]) => status);
  return [...listed, ...unlisted, ...(counts.has("") ? [""] : [])];
}
