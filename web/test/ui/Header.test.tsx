import { screen } from "@testing-library/react";
import { beforeEach, expect, test } from "vitest";
import { setToken } from "../../src/token.ts";
import { Header } from "../../src/ui/Header.tsx";
import { fakeShop } from "../fake-shop.tsx";

const shop = fakeShop();
beforeEach(() => sessionStorage.clear());

const tokenOf = (claims: object) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x`;

test.each([
  [{ sub: "u-7", name: "Łucja Nowak" }, "Łucja Nowak"],
  [{ sub: "u-7" }, "u-7"],
])("says who is signed in by %j, by which role, and offers to sign out", async (claims, name) => {
  setToken(tokenOf(claims));
  shop.current.meta.role = "viewer";
  await shop.open("", <Header />);
  await screen.findByText("viewer");
  screen.getByText(name);
  screen.getByTitle(`Signed in as ${name}, viewer`);
  screen.getByRole("button", { name: "Sign out" });
});

test("a token without a name shows its role alone", async () => {
  setToken(tokenOf({}));
  shop.current.meta.role = "admin";
  await shop.open("", <Header />);
  await screen.findByText("admin");
});

test("says nothing where no login is required", async () => {
  shop.current.meta.role = "admin";
  await shop.open("", <Header />);
  await screen.findByText("Online (Live)");
  expect(screen.queryByText("admin")).toBeNull();
  expect(screen.queryByRole("button", { name: "Sign out" })).toBeNull();
});
