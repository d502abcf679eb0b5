import { expect, test } from "vitest";
import { DecimalSum, fromUnits, moneyFormat, scaleOf, toUnits } from "../src/money.ts";

const plain = (text: string) => text.replace(/\s/g, " ");

test.each(["0.00", "0.05", "150.50", "9999999999.99", "90071992547409931.07", "-3.40", "1.234", "1500", "-0.0001"])(
  "converts %s to whole units and back",
  (text) => {
    expect(fromUnits(toUnits(text, scaleOf(text)), scaleOf(text))).toBe(text);
  },
);

test("takes missing digits as zero, and cuts those beyond the scale off", () => {
  expect(toUnits("0", 2)).toBe(0n);
  expect(toUnits("12", 2)).toBe(1200n);
  expect(toUnits("12.5", 3)).toBe(12500n);
  expect(toUnits("-12.579", 1)).toBe(-125n);
});

test.each(["NaN", "Infinity", "", "1e5"])("counts %s, which is no decimal, as zero", (text) => {
  expect([scaleOf(text), toUnits(text, 2)]).toEqual([0, 0n]);
});

test("adds amounts exactly, whatever their digits", () => {
  const sum = new DecimalSum();
  for (const amount of ["0.1", "0.2", "90071992547409931", "-0.005"]) sum.add(amount);
  expect(String(sum)).toBe("90071992547409931.295");
  expect(String(new DecimalSum())).toBe("0");
});

test("formats amounts exactly that a floating-point number cannot hold", () => {
  expect(plain(moneyFormat("ru")("90071992547409931.07", "PLN"))).toBe("90 071 992 547 409 931,07 zł");
  expect(moneyFormat("en")("0.10", "EUR")).toBe("€0.10");
});

test.each([
  ["1.5", "KWD", "KWD 1.500"],
  ["90071992547409931.001", "KWD", "KWD 90,071,992,547,409,931.001"],
  ["1500", "JPY", "¥1,500"],
  ["1500.00", "jpy", "¥1,500"],
  ["12.345", "EUR", "€12.345"],
  ["-7", "USD", "-$7.00"],
])("shows %s %s with the decimals of the currency, or as many as the amount has", (amount, currency, text) => {
  expect(plain(moneyFormat("en")(amount, currency))).toBe(text);
});

test.each([
  ["XTS", "XTS 3.50"],
  ["USDT", "3.50 USDT"],
  ["€", "3.50 €"],
])("shows an amount in the unknown currency %s", (currency, text) => {
  expect(plain(moneyFormat("en")("3.5", currency))).toBe(text);
});

test("takes any number of currencies", () => {
  const format = moneyFormat("en");
  for (let n = 0; n < 1_000; n++) expect(plain(format("1", `coin ${n}`))).toBe(`1.00 coin ${n}`);
});
