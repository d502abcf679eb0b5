import { setNotificationsEnabled } from "../alerts.ts";
import { useTranslate } from "../i18n.ts";
import { useNotificationPermission } from "../notifications.ts";
import { usePreferences } from "../preferences.ts";
import * as icon from "./icons.tsx";

/** Switches notifications. It is on only while the browser allows them, and says so if it does not. */
export function NotificationBell() {
  const t = useTranslate();
  const { notifications } = usePreferences();
  const permission = useNotificationPermission();
  if (permission === "unsupported") return null;
  const on = notifications && permission === "granted";
  const label = permission === "denied" ? t("notificationsDenied") : t("notifications");
  return (
    <button
      type="button"
      aria-pressed={on}
      aria-label={label}
      title={label}
      data-permission={permission}
      onClick={() => void setNotificationsEnabled(!on)}
    >
      {on ? <icon.Bell /> : <icon.BellOff />}
    </button>
  );
}
