import { beforeEach, expect, test, vi } from "vitest";

const STORAGE_KEY = "orderwire.preferences";
let module: typeof import("../src/preferences.ts");

/** Loads the module again, like a new page. */
async function load(languages: string[] = ["en-US"]): Promise<void> {
  vi.spyOn(navigator, "languages", "get").mockReturnValue(languages);
  vi.resetModules();
  module = await import("../src/preferences.ts");
}

beforeEach(() => localStorage.clear());

test.each([
  [["ru-RU", "en"], "ru"],
  [["pl", "ru"], "pl"],
  [["de", "pl-PL", "en"], "pl"],
  [["en-US", "ru"], "en"],
  [["de", "fr"], "en"],
  [["rum"], "en"],
])("a browser with the languages %j gets %s", async (languages, language) => {
  await load(languages);
  const board = { shown: null, limits: {}, alarm: false };
  expect(module.getPreferences()).toEqual({ language, theme: "system", sound: false, notifications: false, period: "1h", savedViews: [], board });
});

test("stores what was chosen, and no defaults", async () => {
  await load();
  module.setPreferences({ theme: "dark" });
  module.setPreferences({ period: "24h" });
  expect(JSON.parse(localStorage.getItem(STORAGE_KEY)!)).toEqual({ theme: "dark", period: "24h" });
  await load(["ru"]);
  expect(module.getPreferences()).toMatchObject({ language: "ru", theme: "dark", period: "24h" });
});

test("uses the defaults if the stored text is invalid", async () => {
  localStorage.setItem(STORAGE_KEY, "{");
  await load();
  expect(module.getPreferences().theme).toBe("system");
});

test("sets the language and the theme of the page, also for a change in another tab", async () => {
  await load();
  module.initPreferences();
  expect([document.documentElement.lang, document.documentElement.dataset.theme]).toEqual(["en", "system"]);
  module.setPreferences({ language: "ru" });
  expect(document.documentElement.lang).toBe("ru");
  localStorage.setItem(STORAGE_KEY, JSON.stringify({ theme: "light" }));
  dispatchEvent(new StorageEvent("storage", { key: STORAGE_KEY }));
  expect(document.documentElement.dataset.theme).toBe("light");
});
