import { expect, test } from "vitest";
import { fromCents, moneyFormat, toCents } from "../src/money.ts";

test.each(["0.00", "0.05", "150.50", "9999999999.99", "90071992547409931.07", "-3.40"])("converts %s to cents and back", (text) => {
  expect(fromCents(toCents(text))).toBe(text);
});

test("takes missing digits as zero", () => {
  expect(toCents("0")).toBe(0n);
  expect(toCents("12")).toBe(1200n);
  expect(toCents("12.5")).toBe(1250n);
});

test("formats amounts exactly that a floating-point number cannot hold", () => {
  expect(moneyFormat("ru", "PLN")("90071992547409931.07").replace(/\s/g, " ")).toBe("90 071 992 547 409 931,07 zł");
  expect(moneyFormat("en", "EUR")("0.10")).toBe("€0.10");
});
