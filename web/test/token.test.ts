import { beforeEach, expect, test } from "vitest";
import { getToken, setToken, tokenSubject } from "../src/token.ts";

beforeEach(() => {
  sessionStorage.clear();
  history.replaceState(null, "", "/admin/dashboard?a=1");
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
  history.replaceState(null, "", "/shop/orderwire/admin/dashboard");
  expect(getToken()).toBeNull();
  setToken("below");
  history.replaceState(null, "", "/admin/dashboard");
  expect(getToken()).toBe("root");
});

test("reads the subject of a token, also one with letters beyond ASCII", () => {
  const encoded = (claims: object) => Buffer.from(JSON.stringify(claims)).toString("base64url");
  expect(tokenSubject(`e30.${encoded({ sub: "Łucja>>>" })}.x`)).toBe("Łucja>>>");
  expect(tokenSubject(`e30.${encoded({ sub: 7 })}.x`)).toBeUndefined();
  expect([tokenSubject("nonsense"), tokenSubject("a.b.c"), tokenSubject()]).toEqual([undefined, undefined, undefined]);
});
