import { useId, useState } from "react";
import { setToken } from "../token.ts";
import { useWords } from "../words.ts";
import * as icon from "./icons.tsx";
import { useLive, useView } from "./use-live.ts";

export function SignIn() {
  const words = useWords();
  const live = useLive();
  const refused = useView((view) => view.refused);
  const [text, setText] = useState("");
  const id = useId();
  return (
    <main className="sign-in">
      <form
        className="panel"
        onSubmit={(event) => {
          event.preventDefault();
          setToken(text);
          void live.checkAccess();
        }}
      >
        <h1 className="brand">
          <icon.Logo />
          Orderwire
        </h1>
        <p>{words.signInHelp}</p>
        <label htmlFor={id}>{words.token}</label>
        <textarea
          id={id}
          rows={4}
          required
          spellCheck={false}
          autoComplete="off"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        {refused && (
          <p className="trouble" role="alert">
            {words.refused}
          </p>
        )}
        <button type="submit" className="primary">
          {words.enter}
        </button>
      </form>
    </main>
  );
}
