import { fireEvent, screen, waitFor } from "@testing-library/react";
import { beforeEach, expect, test, vi } from "vitest";
import { getToken, setToken } from "../../src/token.ts";
import { SignInOverlay, SignInPage } from "../../src/ui/SignIn.tsx";
import { renderFixed } from "./render-fixed.tsx";

beforeEach(() => {
  sessionStorage.clear();
  HTMLDialogElement.prototype.showModal ??= function showModal(this: HTMLDialogElement) {
    this.open = true;
  };
});

/** A token of which the page reads the subject only. */
const tokenOf = (sub: string): string => `e30.${btoa(JSON.stringify({ sub }))}.x`;

function submit(token: string): void {
  fireEvent.change(screen.getByLabelText("Token"), { target: { value: token } });
  fireEvent.submit(screen.getByLabelText("Token"));
}

test.each([
  ["required", null],
  ["expired", "Your sign-in has run out."],
  ["unreachable", "The server cannot be reached."],
] as const)("says why a token is needed: %s", (reason, text) => {
  renderFixed(<SignInPage />, { access: "sign-in", signIn: { reason, loginUrl: null } });
  if (text === null) expect(screen.queryByRole("alert")).toBeNull();
  else expect(screen.getByRole("alert").textContent).toContain(text);
});

test("the login page of the shop is named by its host, and the token comes second", () => {
  renderFixed(<SignInOverlay />, { signIn: { reason: "expired", loginUrl: "https://login.example:8443/in?shop=7" } });
  expect(screen.getByRole("button", { name: /login\.example:8443/ }).className).toBe("primary");
  expect(screen.getByRole("button", { name: "Enter" }).className).toBe("secondary");
});

test("over the page, the token of the same user goes on, that of another loads the page anew", async () => {
  const reload = vi.spyOn(location, "reload").mockImplementation(() => {});
  setToken(tokenOf("anna"));
  renderFixed(<SignInOverlay />, { signIn: { reason: "expired", loginUrl: null } });
  submit(` ${tokenOf("anna")} `);
  await waitFor(() => expect((screen.getByRole("button", { name: "Enter" }) as HTMLButtonElement).disabled).toBe(false));
  expect(reload).not.toHaveBeenCalled();
  submit(tokenOf("bo"));
  expect(reload).toHaveBeenCalledTimes(1);
  expect(getToken()).toBe(tokenOf("bo"));
});
