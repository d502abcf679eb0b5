import { beforeAll, expect, test } from "vitest";
import en from "../messages/en.json";
import pl from "../messages/pl.json";
import ru from "../messages/ru.json";
import { loadLanguage, translatorFor } from "../src/i18n.ts";

beforeAll(() => Promise.all([loadLanguage("ru"), loadLanguage("pl")]));

test.each([
  [21, "21 новый заказ", "21 new orders", "21 nowych zamówień"],
  [3, "3 новых заказа", "3 new orders", "3 nowe zamówienia"],
  [11, "11 новых заказов", "11 new orders", "11 nowych zamówień"],
  [10_000, "10 000 новых заказов", "10,000 new orders", "10 000 nowych zamówień"],
])("%i new orders", (count, ru, en, pl) => {
  expect(translatorFor("ru")("newOrders", { count }).replace(/\s/g, " ")).toBe(ru);
  expect(translatorFor("en")("newOrders", { count })).toBe(en);
  expect(translatorFor("pl")("newOrders", { count }).replace(/\s/g, " ")).toBe(pl);
});

test("an English count of orders has a singular", () => {
  expect([1, 2].map((n) => translatorFor("en")("foundOrders", { count: n }))).toEqual(["1 order", "2 orders"]);
});

/** The plural forms that a language's catalogue has to give; a language uses "other" for fractions alone if it has the rest. */
const FORMS = { en: ["one", "other"], ru: ["few", "many", "one", "other"], pl: ["few", "many", "one", "other"] };

test.each(Object.entries({ en, ru, pl }))("the catalogue of %s has each message, with its values and plural forms", (language, messages) => {
  expect(Object.keys(messages).sort()).toEqual(Object.keys(en).sort());
  for (const [key, message] of Object.entries(messages)) {
    const texts = typeof message === "string" ? [message] : Object.values(message);
    const expected = placeholders(en[key as keyof typeof en]);
    for (const text of texts) expect(placeholders(text), key).toEqual(expected);
    if (typeof message !== "string") expect(Object.keys(message).sort(), key).toEqual(FORMS[language as keyof typeof FORMS]);
  }
});

/** The names in the braces, of a text or of the last of the plural forms. */
function placeholders(message: string | Record<string, string>): string[] {
  const text = typeof message === "string" ? message : message.other;
  return [...(text ?? "").matchAll(/\{(\w+)\}/g)].map((match) => match[1] as string).sort();
}
