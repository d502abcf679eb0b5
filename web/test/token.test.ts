import { beforeEach, expect, test } from "vitest";
import { getToken, readTokenFromUrl, setToken } from "../src/token.ts";

beforeEach(() => {
  sessionStorage.clear();
  history.replaceState(null, "", "/admin/dashboard?a=1");
});

test("moves the token of the URL into the session storage", () => {
  history.replaceState(null, "", "/admin/dashboard?a=1#token=abc.def");
  readTokenFromUrl();
  expect(getToken()).toBe("abc.def");
  expect(location.pathname + location.search + location.hash).toBe("/admin/dashboard?a=1");
});

test("leaves the stored token and the URL alone if the URL has no token", () => {
  setToken("stored");
  history.replaceState(null, "", "/admin/dashboard?a=1#orders");
  readTokenFromUrl();
  expect(getToken()).toBe("stored");
  expect(location.hash).toBe("#orders");
});

test("trims a token, and removes it for null or blank text", () => {
  setToken("  abc\n");
  expect(getToken()).toBe("abc");
  setToken(" ");
  expect(getToken()).toBeNull();
  setToken("abc");
  setToken(null);
  expect(getToken()).toBeNull();
});

test("keeps the tokens of servers below different prefixes apart", () => {
  setToken("root");
  history.replaceState(null, "", "/shop/orderwire/admin/dashboard#token=below");
  expect(getToken()).toBeNull();
  readTokenFromUrl();
  expect(getToken()).toBe("below");
  history.replaceState(null, "", "/admin/dashboard");
  expect(getToken()).toBe("root");
});
