import { useWebSocket } from "@orderwire/client/react";
import { useEffect, useState } from "react";
import { notificationsSupported, setNotificationsEnabled, setSoundEnabled } from "../alerts.ts";
import { translatorFor, useTranslate } from "../i18n.ts";
import { LANGUAGES, setPreferences, usePreferences, type Theme } from "../preferences.ts";
import { viewHref } from "../route.ts";
import { getToken, setToken } from "../token.ts";
import { ConnectionIndicator } from "./ConnectionIndicator.tsx";
import * as icon from "./icons.tsx";
import { Link } from "./Link.tsx";
import { useDashboard } from "./use-dashboard.ts";
import { useRoute } from "./use-route.ts";
import { LAZY_VIEWS } from "./views.ts";

const NAVIGATION = ["list", "board", "wall", "story"] as const;

const NEXT_THEME: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const THEME_ICON = { system: icon.Monitor, light: icon.Sun, dark: icon.Moon };

export function Header({ onHelp }: { onHelp: () => void }) {
  const { status } = useWebSocket();
  useDocumentTitle(status.state !== "online" ? "⚪" : status.live ? "🟢" : "🟡");
  return (
    <header className="app-header">
      <h1 className="brand">
        <icon.Logo />
        Orderwire
      </h1>
      <Navigation />
      <ConnectionIndicator />
      <Toolbar onHelp={onHelp} />
    </header>
  );
}

/** The views that there are; none while the list is the only one. */
function Navigation() {
  const t = useTranslate();
  const { view } = useRoute();
  const isAdmin = useDashboard((snapshot) => snapshot.access) === "everything";
  const views = NAVIGATION.filter((name) => name === "list" || name in LAZY_VIEWS);
  if (!isAdmin || views.length < 2) return null;
  return (
    <nav className="navigation" aria-label={t("views")}>
      {views.map((name) => (
        <Link key={name} href={viewHref(name)} aria-current={view === name ? "page" : undefined}>
          {t(`view.${name}`)}
        </Link>
      ))}
    </nav>
  );
}

/** The title shows the connection and the pending orders while the page is in a background tab. */
function useDocumentTitle(dot: string) {
  const pending = useDashboard((snapshot) => snapshot.totals?.pending_orders);
  useEffect(() => {
    document.title = `${dot} ${pending === undefined ? "" : `${pending} · `}Orderwire`;
  }, [dot, pending]);
}

function Toolbar({ onHelp }: { onHelp: () => void }) {
  const t = useTranslate();
  const { language, theme, sound, notifications } = usePreferences();
  const [denied, setDenied] = useState(false);
  const nextLanguage = LANGUAGES[(LANGUAGES.indexOf(language) + 1) % LANGUAGES.length] ?? "en";
  const switchLanguage = translatorFor(nextLanguage)("switchLanguage");
  const ThemeIcon = THEME_ICON[theme];
  return (
    <div className="toolbar">
      <button type="button" aria-pressed={sound} aria-label={t("sound")} title={t("sound")} onClick={() => setSoundEnabled(!sound)}>
        {sound ? <icon.SoundOn /> : <icon.SoundOff />}
      </button>
      {notificationsSupported && (
        <button
          type="button"
          aria-pressed={notifications}
          aria-label={denied ? t("notificationsDenied") : t("notifications")}
          title={denied ? t("notificationsDenied") : t("notifications")}
          onClick={() => void setNotificationsEnabled(!notifications).then((allowed) => setDenied(!allowed))}
        >
          {notifications ? <icon.Bell /> : <icon.BellOff />}
        </button>
      )}
      <button
        type="button"
        aria-label={t(`theme.${theme}`)}
        title={t(`theme.${theme}`)}
        onClick={() => setPreferences({ theme: NEXT_THEME[theme] })}
      >
        <ThemeIcon />
      </button>
      <button
        type="button"
        className="language"
        lang={nextLanguage}
        aria-label={switchLanguage}
        title={switchLanguage}
        onClick={() => setPreferences({ language: nextLanguage })}
      >
        {nextLanguage.toUpperCase()}
      </button>
      <button type="button" className="wide-only" aria-label={t("shortcuts")} title={t("shortcuts")} onClick={onHelp}>
        <icon.Keyboard />
      </button>
      {getToken() !== null && (
        <button type="button" aria-label={t("signOut")} title={t("signOut")} onClick={signOut}>
          <icon.SignOut />
        </button>
      )}
    </div>
  );
}

function signOut() {
  setToken(null);
  location.reload();
}
