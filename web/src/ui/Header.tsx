import { useEffect } from "react";
import { setSoundEnabled } from "../alerts.ts";
import { loadLanguage, useTranslate } from "../i18n.ts";
import { signOut } from "../login.ts";
import { LANGUAGES, setPreferences, usePreferences, type Theme } from "../preferences.ts";
import { viewHref } from "../route.ts";
import { getToken, userName } from "../token.ts";
import { ConnectionIndicator } from "./ConnectionIndicator.tsx";
import * as icon from "./icons.tsx";
import { Link } from "./Link.tsx";
import { NotificationBell } from "./NotificationBell.tsx";
import { useConnectionStatus } from "./use-connection-status.ts";
import { useDashboard } from "./use-dashboard.ts";
import { useRoute } from "./use-route.ts";
import { LAZY_VIEWS } from "./views.ts";

const NAVIGATION = ["list", "board", "wall", "story"] as const;

/** In the language that is offered. */
const SWITCH_LANGUAGE = { en: "EN: switch to English", ru: "RU: переключить на русский", pl: "PL: przełącz na polski" };
const NEXT_THEME: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const THEME_ICON = { system: icon.Monitor, light: icon.Sun, dark: icon.Moon };

/** `onHelp` shows the keys, on pages that have some. */
export function Header({ onHelp }: { onHelp?: () => void }) {
  return (
    <header className="app-header">
      <DocumentTitle />
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

/** The title shows the connection and the pending orders while the page is in a background tab. By itself: it changes with the totals. */
function DocumentTitle() {
  const status = useConnectionStatus();
  const dot = status.state !== "online" ? "⚪" : status.live ? "🟢" : "🟡";
  const pending = useDashboard((snapshot) => snapshot.totals?.pending_orders);
  useEffect(() => {
    document.title = `${dot} ${pending === undefined ? "" : `${pending} · `}Orderwire`;
  }, [dot, pending]);
  return null;
}

function Toolbar({ onHelp }: { onHelp: (() => void) | undefined }) {
  const t = useTranslate();
  const { language, theme, sound } = usePreferences();
  // A viewer is told of no orders.
  const hasAlerts = useDashboard((snapshot) => snapshot.access !== "totals");
  const nextLanguage = LANGUAGES[(LANGUAGES.indexOf(language) + 1) % LANGUAGES.length] ?? "en";
  const switchLanguage = SWITCH_LANGUAGE[nextLanguage];
  const ThemeIcon = THEME_ICON[theme];
  return (
    <div className="toolbar">
      {hasAlerts && (
        <>
          <button type="button" aria-pressed={sound} aria-label={t("sound")} title={t("sound")} onClick={() => setSoundEnabled(!sound)}>
            {sound ? <icon.SoundOn /> : <icon.SoundOff />}
          </button>
          <NotificationBell />
        </>
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
        onClick={() => void loadLanguage(nextLanguage).then(() => setPreferences({ language: nextLanguage }), () => undefined)}
      >
        {nextLanguage.toUpperCase()}
      </button>
      {onHelp !== undefined && (
        <button type="button" className="wide-only" aria-label={t("shortcuts")} title={t("shortcuts")} onClick={onHelp}>
          <icon.Keyboard />
        </button>
      )}
      {getToken() !== null && <SignedIn />}
    </div>
  );
}

/** Who is signed in, by which role, and the way out. */
function SignedIn() {
  const t = useTranslate();
  const role = useDashboard((snapshot) => snapshot.meta.role);
  const roleText = role === undefined ? "" : t(`role.${role}`);
  const name = userName();
  return (
    <>
      <p className="user" title={name === undefined ? roleText : t("signedInAs", { name, role: roleText })}>
        {name !== undefined && <bdi>{name}</bdi>}
        <small>{roleText}</small>
      </p>
      <button type="button" aria-label={t("signOut")} title={t("signOut")} onClick={signOut}>
        <icon.SignOut />
      </button>
    </>
  );
}
