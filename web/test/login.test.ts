import { beforeEach, expect, test, vi } from "vitest";

let login: typeof import("../src/login.ts");
let token: typeof import("../src/token.ts");

const PAGE = "/admin/dashboard/orders/7?status=ready";

beforeEach(async () => {
  sessionStorage.clear();
  history.replaceState(null, "", PAGE);
  vi.resetModules();
  login = await import("../src/login.ts");
  token = await import("../src/token.ts");
});

/** Loads the page at an address, as the browser does on the return from LOGIN_URL. */
function returnTo(address: string): void {
  history.replaceState(null, "", address);
  login.readTokenFromUrl();
}

function startedState(): string {
  const href = login.startLogin("https://login.example/in?shop=1");
  const query = new URL(href ?? "").searchParams;
  expect(query.get("return_to")).toBe(`${location.origin}${PAGE}`);
  expect(query.get("shop")).toBe("1");
  return query.get("state") ?? "";
}

test("moves the token of a link into the session storage", () => {
  returnTo("/admin/dashboard?a=1#token=abc.def");
  expect(token.getToken()).toBe("abc.def");
  expect(location.pathname + location.search + location.hash).toBe("/admin/dashboard?a=1");
  expect(login.loginProblem()).toBeNull();
});

test("leaves the stored token and the address alone if the address has no token", () => {
  token.setToken("stored");
  returnTo("/admin/dashboard?a=1#orders");
  expect(token.getToken()).toBe("stored");
  expect(location.hash).toBe("#orders");
});

test("takes the token that comes with the state, and goes back to where the user was", () => {
  const state = startedState();
  expect(state).toMatch(/^[0-9a-f]{32}$/);
  expect(login.mayRedirect()).toBe(false); // once, not in circles
  returnTo(`/admin/dashboard#token=abc&state=${state}`);
  expect(token.getToken()).toBe("abc");
  expect(location.pathname + location.search + location.hash).toBe(PAGE);
  expect(login.loginProblem()).toBeNull();
});

test.each(["#token=abc&state=wrong", "#token=abc", "#token=abc&state="])("refuses %s while a sign-in is under way", (hash) => {
  startedState();
  returnTo(`/admin/dashboard${hash}`);
  expect(token.getToken()).toBeNull();
  expect(login.loginProblem()).toBe("wrong-state");
  expect(location.hash).toBe("");
});

test("refuses a state when no sign-in is under way in this tab", () => {
  returnTo("/admin/dashboard#token=abc&state=0123");
  expect([token.getToken(), login.loginProblem()]).toEqual([null, "wrong-state"]);
});

test("says that LOGIN_URL has refused", () => {
  const state = startedState();
  returnTo(`/admin/dashboard#error=access_denied&state=${state}`);
  expect([token.getToken(), login.loginProblem(), login.mayRedirect()]).toEqual([null, "refused", false]);
});

test.each(["javascript:alert(1)", "http://[", "data:text/html,x"])("does not go to %s", (loginUrl) => {
  expect(login.startLogin(loginUrl)).toBeUndefined();
});

test("goes to LOGIN_URL by itself only before the first sign-in, and not after a sign-out", () => {
  expect(login.mayRedirect()).toBe(true);
  const assign = vi.spyOn(location, "assign").mockImplementation(() => undefined);
  token.setToken("abc");
  history.replaceState(null, "", "/admin/dashboard/board?q=anna");
  login.signOut();
  expect([token.getToken(), login.mayRedirect()]).toEqual([null, false]);
  expect(assign).toHaveBeenCalledWith("/admin/dashboard/board"); // the filter may hold a name
});
