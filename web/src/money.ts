/** Amounts are decimal strings. They are added as whole cents, of any size, and never as floating-point numbers. */

export function toCents(decimal: string): bigint {
  const [whole = "0", fraction = ""] = decimal.split(".");
  const cents = BigInt(whole.replace("-", "") + fraction.padEnd(2, "0").slice(0, 2));
  return whole.startsWith("-") ? -cents : cents;
}

export function fromCents(cents: bigint): string {
  const digits = (cents < 0n ? -cents : cents).toString().padStart(3, "0");
  return `${cents < 0n ? "-" : ""}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/** Returns a formatter of decimal strings that loses no digits. `currency` is an ISO 4217 code. */
export function moneyFormat(language: string, currency: string): (decimal: string) => string {
  const format = new Intl.NumberFormat(language, {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: 2,
    maximumFractionDigits: 2,
  });
  return (decimal) => format.format(decimal as `${number}`);
}

/** Returns a formatter for the labels of a chart's axis, such as "1.5K". */
export function shortMoneyFormat(language: string, currency: string): (amount: number) => string {
  const format = new Intl.NumberFormat(language, {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
    notation: "compact",
    maximumFractionDigits: 1,
    minimumFractionDigits: 0,
  });
  return (amount) => format.format(amount);
}
