import { useEffect, useState } from "react";
import { Alarm } from "../../alarm.ts";
import { usePreferences } from "../../preferences.ts";

/** The alarm of the board: on while the board is open and the user wants it. Any key acknowledges. */
export function useAlarm(): Alarm {
  const isWanted = usePreferences().board.alarm;
  const [alarm] = useState(() => new Alarm());
  useEffect(() => {
    if (!isWanted) return;
    alarm.enable();
    const onKey = () => alarm.acknowledge();
    addEventListener("keydown", onKey, { capture: true });
    return () => {
      removeEventListener("keydown", onKey, { capture: true });
      alarm.disable();
    };
  }, [alarm, isWanted]);
  return alarm;
}
