import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { reloadAfterUpgrade } from "../src/worker-client.ts";

let reloads: number;
/** What the server answers to a request for the page. */
let answer: () => Promise<Response>;

beforeEach(() => {
  sessionStorage.clear();
  reloads = 0;
  vi.spyOn(location, "reload").mockImplementation(() => void reloads++);
  vi.stubGlobal("fetch", () => answer());
  const script = document.createElement("script"); // not part of the document, which would load it
  script.setAttribute("src", "./assets/index-old.js");
  vi.spyOn(document, "querySelector").mockReturnValue(script);
  reloadAfterUpgrade();
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

async function failToLoadView() {
  dispatchEvent(new Event("vite:preloadError"));
  for (let i = 0; i < 10; i++) await Promise.resolve();
  await new Promise((resolve) => setTimeout(resolve));
}

test("a view that an upgraded server does not have reloads the page, but not again and again", async () => {
  answer = () => Promise.resolve(new Response('<script type="module" src="./assets/index-new.js">'));
  await failToLoadView();
  await failToLoadView();
  expect(reloads).toBe(1);
});

test.each([
  ["is away", () => Promise.reject(new TypeError("Failed to fetch"))],
  ["answers with an error", () => Promise.resolve(new Response("", { status: 503 }))],
  ["was not upgraded", () => Promise.resolve(new Response('<script type="module" src="./assets/index-old.js">'))],
])("a view that cannot be loaded while the server %s leaves the page", async (_, given) => {
  answer = given;
  await failToLoadView();
  expect(reloads).toBe(0);
});
