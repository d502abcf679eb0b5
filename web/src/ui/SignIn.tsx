import { useId, useState } from "react";
import { useTranslate } from "../i18n.ts";
import { setToken } from "../token.ts";
import * as icon from "./icons.tsx";
import { useDashboardStore, useDashboard } from "./use-dashboard.ts";

export function SignIn() {
  const t = useTranslate();
  const store = useDashboardStore();
  const tokenRejected = useDashboard((snapshot) => snapshot.tokenRejected);
  const [text, setText] = useState("");
  const id = useId();
  return (
    <main className="sign-in">
      <form
        className="panel"
        onSubmit={(event) => {
          event.preventDefault();
          setToken(text);
          void store.checkAccess();
        }}
      >
        <h1 className="brand">
          <icon.Logo />
          Orderwire
        </h1>
        <p>{t("signInHelp")}</p>
        <label htmlFor={id}>{t("token")}</label>
        <textarea
          id={id}
          rows={4}
          required
          spellCheck={false}
          autoComplete="off"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        {tokenRejected && (
          <p className="error" role="alert">
            {t("tokenRejected")}
          </p>
        )}
        <button type="submit" className="primary">
          {t("submitToken")}
        </button>
      </form>
    </main>
  );
}
