import { useWebSocket } from "@orderwire/client/react";
import { useEffect, useState } from "react";
import { canNotify, switchNotifications, switchSound } from "../alerts.ts";
import { prefer, usePreferences, type Theme } from "../preferences.ts";
import { getToken, setToken } from "../token.ts";
import { useWords } from "../words.ts";
import { ConnectionStatus } from "./ConnectionStatus.tsx";
import * as icon from "./icons.tsx";
import { useView } from "./use-live.ts";

const NEXT_THEME: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const THEME_ICON = { system: icon.Screen, light: icon.Sun, dark: icon.Moon };

export function Header({ onHelp }: { onHelp: () => void }) {
  const { isConnected } = useWebSocket();
  useTitle(isConnected);
  return (
    <header className="bar">
      <h1 className="brand">
        <icon.Logo />
        Orderwire
      </h1>
      <ConnectionStatus />
      <Switches onHelp={onHelp} />
    </header>
  );
}

/** Of a page in the background only the title can be seen. */
function useTitle(isConnected: boolean) {
  const pending = useView((view) => view.totals?.pending_orders);
  useEffect(() => {
    document.title = `${isConnected ? "🟢" : "⚪"} ${pending === undefined ? "" : `${pending} · `}Orderwire`;
  }, [isConnected, pending]);
}

function Switches({ onHelp }: { onHelp: () => void }) {
  const words = useWords();
  const { language, theme, sound, notifications } = usePreferences();
  const [denied, setDenied] = useState(false);
  const ThemeIcon = THEME_ICON[theme];
  return (
    <div className="switches">
      <button type="button" aria-pressed={sound} aria-label={words.sound} title={words.sound} onClick={() => switchSound(!sound)}>
        {sound ? <icon.SoundOn /> : <icon.SoundOff />}
      </button>
      {canNotify && (
        <button
          type="button"
          aria-pressed={notifications}
          aria-label={denied ? words.notificationsDenied : words.notifications}
          title={denied ? words.notificationsDenied : words.notifications}
          onClick={() => void switchNotifications(!notifications).then((allowed) => setDenied(!allowed))}
        >
          {notifications ? <icon.Bell /> : <icon.BellOff />}
        </button>
      )}
      <button
        type="button"
        aria-label={words.theme[theme]}
        title={words.theme[theme]}
        onClick={() => prefer({ theme: NEXT_THEME[theme] })}
      >
        <ThemeIcon />
      </button>
      <button
        type="button"
        className="language"
        lang={language === "ru" ? "en" : "ru"}
        aria-label={words.otherLanguage}
        title={words.otherLanguage}
        onClick={() => prefer({ language: language === "ru" ? "en" : "ru" })}
      >
        {language === "ru" ? "EN" : "RU"}
      </button>
      <button type="button" className="wide-only" aria-label={words.keys} title={words.keys} onClick={onHelp}>
        <icon.Keys />
      </button>
      {getToken() !== null && (
        <button type="button" aria-label={words.signOut} title={words.signOut} onClick={signOut}>
          <icon.Leave />
        </button>
      )}
    </div>
  );
}

function signOut() {
  setToken(null);
  location.reload();
}
