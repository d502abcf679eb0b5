import { expect, test } from "vitest";
import { actorName } from "../src/actor.ts";

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
