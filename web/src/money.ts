/**
 * Amounts are decimal strings with any number of digits. They are added as whole numbers of any size, and never as floating-point
 * numbers. What is no decimal, such as "NaN", counts as 0.
 */

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?$/;
/** Engines of 2022 take at most this many. */
const MAX_FRACTION_DIGITS = 20;
/** A table may hold any text as a currency. */
const MAX_CURRENCIES = 200;

/** The number of digits after the point. */
export function scaleOf(decimal: string): number {
  return DECIMAL.exec(decimal)?.[3]?.length ?? 0;
}

/** The amount in units of 10^-scale. Digits beyond them are cut off. */
export function toUnits(decimal: string, scale: number): bigint {
  const [, sign = "", whole = "0", fraction = ""] = DECIMAL.exec(decimal) ?? [];
  return BigInt(sign + whole + fraction.padEnd(scale, "0").slice(0, scale));
}

export function fromUnits(units: bigint, scale: number): string {
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, "0");
  const whole = digits.slice(0, digits.length - scale);
  return `${units < 0n ? "-" : ""}${whole}${scale === 0 ? "" : `.${digits.slice(-scale)}`}`;
}

/** A sum with as many digits after the point as its longest summand. */
export class DecimalSum {
  #units = 0n;
  #scale = 0;

  add(decimal: string): void {
    const units = this.#toUnits(decimal); // first: it may change the scale
    this.#units += units;
  }

  subtract(decimal: string): void {
    const units = this.#toUnits(decimal);
    this.#units -= units;
  }

  get isZero(): boolean {
    return this.#units === 0n;
  }

  #toUnits(decimal: string): bigint {
    const scale = scaleOf(decimal);
    if (scale > this.#scale) {
      this.#units *= 10n ** BigInt(scale - this.#scale);
      this.#scale = scale;
    }
    return toUnits(decimal, this.#scale);
  }

  toString(): string {
    return fromUnits(this.#units, this.#scale);
  }
}

/**
 * Returns a formatter of decimal strings that loses no digits, and shows at least as many decimals as the currency has: none of JPY,
 * three of KWD. A currency that is no ISO 4217 code follows the number.
 */
export function moneyFormat(locale: string): (decimal: string, currency: string) => string {
  const formats = new Map<string, (decimal: string) => string>();
  return (decimal, currency) => {
    let format = formats.get(currency);
    if (format === undefined) {
      if (formats.size >= MAX_CURRENCIES) formats.clear();
      formats.set(currency, (format = currencyFormat(locale, currency)));
    }
    return format(decimal);
  };
}

function currencyFormat(locale: string, currency: string): (decimal: string) => string {
  const digits = { maximumFractionDigits: MAX_FRACTION_DIGITS };
  try {
    const format = new Intl.NumberFormat(locale, { style: "currency", currency, currencyDisplay: "narrowSymbol", ...digits });
    return (decimal) => format.format(decimal as `${number}`);
  } catch {
    const format = new Intl.NumberFormat(locale, { minimumFractionDigits: 2, ...digits });
    return (decimal) => `${format.format(decimal as `${number}`)}\u00a0${currency}`;
  }
}

/** Returns a formatter for the labels of a chart's axis, such as "1.5K". */
export function shortMoneyFormat(locale: string, currency: string): (amount: number) => string {
  const digits = { notation: "compact", maximumFractionDigits: 1, minimumFractionDigits: 0 } as const;
  try {
    const format = new Intl.NumberFormat(locale, { style: "currency", currency, currencyDisplay: "narrowSymbol", ...digits });
    return (amount) => format.format(amount);
  } catch {
    const format = new Intl.NumberFormat(locale, digits);
    return (amount) => format.format(amount);
  }
}
