import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { api, ApiError } from "../src/api.ts";
import { setToken } from "../src/token.ts";

const fetchMock = vi.fn<(path: string, init: RequestInit) => Promise<Response>>();

beforeEach(() => {
  vi.stubGlobal("fetch", fetchMock);
  fetchMock.mockReset();
});
afterEach(() => {
  setToken(null);
  vi.unstubAllGlobals();
});

test("requests a page of orders, after a cursor only if it is given", async () => {
  fetchMock.mockImplementation(async () => Response.json({ orders: [{ key: "7" }], next: "a b" }));
  expect(await api.orders()).toEqual({ orders: [{ key: "7" }], next: "a b" });
  await api.orders("a b");
  expect(fetchMock.mock.calls.map(([path]) => path)).toEqual(["/api/orders?limit=1000", "/api/orders?limit=1000&after=a+b"]);
});

test("requests an order by its key, escaped", async () => {
  fetchMock.mockImplementation(async () => Response.json({ key: "ü/1?" }));
  expect(await api.order("ü/1?")).toEqual({ key: "ü/1?" });
  expect(fetchMock.mock.calls.map(([path]) => path)).toEqual(["/api/orders/%C3%BC%2F1%3F"]);
});

test("requests events after a cursor, escaped", async () => {
  fetchMock.mockImplementation(async () => Response.json({ events: [], next: "a-1-1", more: false }));
  await api.events(undefined, 50);
  await api.events("a-1:2-3", 20);
  expect(fetchMock.mock.calls.map(([path]) => path)).toEqual(["/api/events?limit=50", "/api/events?after=a-1%3A2-3&limit=20"]);
});

test("sends the token in a header, if there is one", async () => {
  fetchMock.mockImplementation(async () => Response.json({}));
  await api.meta();
  setToken("secret");
  await api.meta();
  expect(fetchMock.mock.calls.map(([path, { headers }]) => [path, headers])).toEqual([
    ["/api/meta", {}],
    ["/api/meta", { Authorization: "Bearer secret" }],
  ]);
});

test("requests what is below the prefix of the page", async () => {
  history.replaceState(null, "", "/shop/orderwire/admin/dashboard#x");
  fetchMock.mockImplementation(async () => Response.json({}));
  await api.order("7");
  history.replaceState(null, "", "/admin/dashboard");
  await api.meta();
  expect(fetchMock.mock.calls.map(([path]) => path)).toEqual(["/shop/orderwire/api/orders/7", "/api/meta"]);
});

test("throws the status and the details of an error", async () => {
  const error = { code: "token_expired", message: "the token has expired", login_url: "https://login.example/" };
  fetchMock.mockImplementation(async () => Response.json({ error }, { status: 401 }));
  const thrown = await api.events("a", 1).catch((reason: unknown) => reason);
  expect(thrown).toBeInstanceOf(ApiError);
  expect(thrown).toMatchObject({ status: 401, details: error, message: "the token has expired" });
});

test("throws the status of a proxy's error, which is no JSON", async () => {
  fetchMock.mockImplementation(async () => new Response("<h1>Bad gateway</h1>", { status: 502 }));
  await expect(api.events("a", 1)).rejects.toMatchObject({ status: 502, details: {} });
});

test("ends a search by its signal", async () => {
  fetchMock.mockImplementation((_, { signal }) => new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason as Error))));
  const controller = new AbortController();
  const search = api.search({ q: "anna" }, undefined, controller.signal);
  controller.abort();
  await expect(search).rejects.toMatchObject({ name: "AbortError" });
});
