import { useSyncExternalStore } from "react";
import type { Alarm } from "../../alarm.ts";
import { useTranslate } from "../../i18n.ts";
import { setPreferences, usePreferences } from "../../preferences.ts";
import * as icon from "../icons.tsx";
import css from "./board.module.css";
import { useFrozen } from "./use-frozen.ts";

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

/** New orders that were not acknowledged yet; while `isFrozen` those of the moment at which that began. */
export function AlarmBanner({ alarm, isFrozen }: { alarm: Alarm; isFrozen: boolean }) {
  const t = useTranslate();
  const count = useFrozen(useSyncExternalStore(alarm.subscribe, alarm.getSnapshot).count, isFrozen);
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
