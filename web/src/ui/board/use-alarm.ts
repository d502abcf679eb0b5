import { useEffect } from "react";
import { Alarm } from "../../alarm.ts";
import { usePreferences } from "../../preferences.ts";
import type { DashboardStore } from "../../state/dashboard-store.ts";
import { useDashboardStore } from "../use-dashboard.ts";

/** By the page's store: what was not acknowledged is remembered while another view is open. */
const alarms = new WeakMap<DashboardStore, Alarm>();

function alarmOf(store: DashboardStore): Alarm {
  const known = alarms.get(store);
  if (known !== undefined) return known;
  const alarm = new Alarm();
  alarms.set(store, alarm);
  return alarm;
}

/** The alarm of the board: on while the board is open and the user wants it. Any key acknowledges. */
export function useAlarm(): Alarm {
  const isWanted = usePreferences().board.alarm;
  const alarm = alarmOf(useDashboardStore());
  useEffect(() => {
    if (!isWanted) {
      alarm.disable();
      return;
    }
    alarm.enable();
    const onKey = () => alarm.acknowledge();
    addEventListener("keydown", onKey, { capture: true });
    return () => {
      removeEventListener("keydown", onKey, { capture: true });
      alarm.pause();
    };
  }, [alarm, isWanted]);
  return alarm;
}
