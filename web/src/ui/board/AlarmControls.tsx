import { useSyncExternalStore } from "react";
import type { Alarm } from "../../alarm.ts";
import { useTranslate } from "../../i18n.ts";
import { setPreferences, usePreferences } from "../../preferences.ts";
import * as icon from "../icons.tsx";
import css from "./board.module.css";

export function AlarmButton({ alarm }: { alarm: Alarm }) {
  const t = useTranslate();
  const { board } = usePreferences();
  const { isBlocked } = useSyncExternalStore(alarm.subscribe, alarm.getSnapshot);
  return (
    <>
      <button
        type="button"
        className={css.button}
        aria-pressed={board.alarm}
        title={t("alarmHint")}
        onClick={() => setPreferences({ board: { ...board, alarm: !board.alarm } })}
      >
        {board.alarm ? <icon.SoundOn /> : <icon.SoundOff />}
        {t("alarm")}
      </button>
      {board.alarm && isBlocked && (
        <p className={css.blocked} role="alert">
          {t("soundBlocked")}
        </p>
      )}
    </>
  );
}

/** New orders that were not acknowledged yet. */
export function AlarmBanner({ alarm }: { alarm: Alarm }) {
  const t = useTranslate();
  const { count } = useSyncExternalStore(alarm.subscribe, alarm.getSnapshot);
  if (count === 0) return null;
  return (
    <div className={css.alarm} role="alert">
      <p>{t("newOrders", { count })}</p>
      <button type="button" className="primary" onClick={() => alarm.acknowledge()}>
        {t("acknowledge")}
      </button>
    </div>
  );
}
