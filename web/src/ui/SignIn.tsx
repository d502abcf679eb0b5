import { useEffect, useId, useLayoutEffect, useRef, useState, type FormEvent } from "react";
import { useTranslate, type MessageKey } from "../i18n.ts";
import { endLogin, loginProblem, mayRedirect, startLogin, type LoginProblem } from "../login.ts";
import type { SignInReason } from "../state/dashboard-store.ts";
import { setToken, tokenSubject } from "../token.ts";
import * as icon from "./icons.tsx";
import { useDashboard, useDashboardStore } from "./use-dashboard.ts";

const REASONS: Record<SignInReason | LoginProblem, MessageKey | null> = {
  required: null,
  rejected: "signIn.rejected",
  expired: "signIn.expired",
  "no-role": "signIn.noRole",
  unreachable: "signIn.unreachable",
  "wrong-state": "signIn.wrongState",
  refused: "signIn.refused",
};

/** The whole page, while nothing can be seen without a token. */
export function SignInPage() {
  return (
    <main className="sign-in">
      <SignInForm overlay={false} />
    </main>
  );
}

/** A dialog over the page that was open when its token ran out. The page below stays as it is, and goes on after the sign-in. */
export function SignInOverlay() {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const element = dialog.current as HTMLDialogElement;
    element.showModal();
    // The first field is for password managers alone.
    element.querySelector<HTMLElement>("[autofocus], input[type=password]")?.focus();
    return () => element.close();
  }, []);
  return (
    <dialog ref={dialog} className="sign-in-overlay" aria-labelledby="sign-in-title" onCancel={(event) => event.preventDefault()}>
      <SignInForm overlay />
    </dialog>
  );
}

function goToLogin(loginUrl: string): void {
  const href = startLogin(loginUrl);
  if (href !== undefined) location.assign(href);
}

function SignInForm({ overlay }: { overlay: boolean }) {
  const t = useTranslate();
  const store = useDashboardStore();
  const signIn = useDashboard((snapshot) => snapshot.signIn);
  const [text, setText] = useState("");
  const [submitting, setSubmitting] = useState(false);
  const id = useId();
  const loginUrl = signIn?.loginUrl ?? null;
  const reason = loginProblem() ?? signIn?.reason ?? "required";
  const message = REASONS[reason];

  useEffect(() => {
    if (!overlay && loginUrl !== null && mayRedirect()) goToLogin(loginUrl);
  }, [overlay, loginUrl]);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const isOtherUser = overlay && tokenSubject(text) !== undefined && tokenSubject(text) !== tokenSubject();
    setToken(text);
    endLogin();
    if (isOtherUser) return location.reload();
    setSubmitting(true);
    await store.checkAccess();
    setSubmitting(false);
  };

  return (
    <form className="panel" onSubmit={(event) => void submit(event)}>
      <h1 className="brand" id="sign-in-title">
        <icon.Logo />
        {overlay ? t("signIn.again") : "Orderwire"}
      </h1>
      {message !== null && (
        <p className="error" role="alert">
          {t(message)}
        </p>
      )}
      {loginUrl !== null && (
        <button type="button" className="primary" onClick={() => goToLogin(loginUrl)}>
          {t("signIn.goToLogin", { host: hostOf(loginUrl) })}
        </button>
      )}
      <p>{loginUrl === null ? t("signInHelp") : t("signIn.orToken")}</p>
      {/* Password managers store a password for a name: the address of this server. */}
      <input
        type="text"
        name="username"
        autoComplete="username"
        className="visually-hidden"
        tabIndex={-1}
        aria-hidden="true"
        readOnly
        value={location.host}
      />
      <label htmlFor={id}>{t("token")}</label>
      <input
        id={id}
        type="password"
        name="password"
        autoComplete="current-password"
        required
        autoFocus={loginUrl === null}
        spellCheck={false}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      <button type="submit" className={loginUrl === null ? "primary" : "secondary"} disabled={submitting}>
        {t("submitToken")}
      </button>
    </form>
  );
}

function hostOf(loginUrl: string): string {
  return URL.canParse(loginUrl, location.href) ? new URL(loginUrl, location.href).host : loginUrl;
}
