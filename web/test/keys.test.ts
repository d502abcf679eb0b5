import { expect, test } from "vitest";
import { isPageKey, latinKey } from "../src/keys.ts";

test.each([
  ["s", "KeyS", "s"],
  ["S", "KeyS", "s"],
  ["ы", "KeyS", "s"], // a Russian keyboard
  ["o", "KeyS", "o"], // a Dvorak keyboard: the letter counts, not the place
  ["?", "Slash", "?"],
  ["Escape", "Escape", "Escape"],
  ["ж", "Semicolon", "ж"],
])("the key %j at the place %s is %j", (key, code, expected) => {
  expect(latinKey({ key, code })).toBe(expected);
});

test("a key in a field, in a dialog or with a modifier is not for the page", () => {
  document.body.innerHTML = '<input id="text"><input id="box" type="checkbox"><dialog open><b></b></dialog><p></p>';
  const isFor = (selector: string, options: KeyboardEventInit = {}) => {
    let result: boolean | undefined;
    addEventListener("keydown", (event) => (result = isPageKey(event)), { once: true });
    document.querySelector(selector)?.dispatchEvent(new KeyboardEvent("keydown", { key: "s", bubbles: true, ...options }));
    return result;
  };
  expect([isFor("#text"), isFor("#box"), isFor("b"), isFor("p"), isFor("p", { ctrlKey: true })]).toEqual([false, true, false, true, false]);
});
