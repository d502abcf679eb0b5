import { expect, test } from "vitest";
import { actorName } from "../src/actor.ts";
import { durationFormatFor } from "../src/duration.ts";

test.each([
  [-5, "0 secs"],
  [300, "0.3 secs"],
  [1_000, "1 sec"],
  [59_900, "1 min"],
  [200_000, "3 mins 20 secs"],
  [3_600_000, "1 hr"],
  [3_660_000, "1 hr 1 min"],
  [3_600_000 * 24 * 3 + 3_600_000 * 2 + 60_000, "3 days 2 hrs"],
])("%i ms are %s", (ms, text) => {
  expect(durationFormatFor("en")(ms).replace(/\u00a0/g, " ")).toBe(text);
});

test("durations are in the language of the page", () => {
  expect(durationFormatFor("ru")(200_000).replace(/\s/g, " ")).toBe("3 мин 20 с");
  expect(durationFormatFor("pl")(200_000).replace(/\s/g, " ")).toBe("3 min 20 sek.");
});

test.each([
  ["serving", "dashboard: Anna Nowak", "Anna Nowak"],
  ["shop", "", "shop"],
  ["shop", "woo", "shop (woo)"],
  ["serving", "dashboard", "dashboard"],
  ["serving", "dashboard: %D0%90%D0%BD%D0%BD%D0%B0", "Анна"],
  ["serving", "dashboard: 100%", "100%"],
])("the actor %s with %j is %s", (role, application_name, name) => {
  expect(actorName({ role, application_name })).toBe(name);
});
