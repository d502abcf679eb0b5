import { useMemo, useState } from "react";
import type { Meta } from "../../api.ts";
import { useTranslate } from "../../i18n.ts";
import { usePreferences } from "../../preferences.ts";
import { choosableStatuses, isFinal } from "../../state/status-rules.ts";
import { useDashboard } from "../use-dashboard.ts";
import { useStatuses } from "../use-statuses.ts";
import { useWriteBlock } from "../use-status-changes.ts";
import { ViewFrame } from "../ViewFrame.tsx";
import { AlarmButton, AlarmBanner } from "./AlarmControls.tsx";
import { BoardColumns } from "./BoardColumns.tsx";
import { BoardSettings } from "./BoardSettings.tsx";
import css from "./board.module.css";
import { useAlarm } from "./use-alarm.ts";
import { useBoard } from "./use-board.ts";
import { useFrozen } from "./use-frozen.ts";

/** The orders that need work as cards in a column for each status. */
export function BoardView() {
  return (
    <ViewFrame>
      <BoardPage />
    </ViewFrame>
  );
}

function BoardPage() {
  const t = useTranslate();
  const block = useWriteBlock();
  const meta = useDashboard((snapshot) => snapshot.meta);
  const seesOrders = useDashboard((snapshot) => snapshot.access) === "everything";
  const { shown } = usePreferences().board;
  const [settingsOpen, setSettingsOpen] = useState(false);
  const statuses = useBoardStatuses(meta);
  const visible = useMemo(
    () => statuses.filter((status) => (shown === null ? !isFinal(meta, status) : shown.includes(status))),
    [statuses, shown, meta],
  );
  const alarm = useAlarm();
  const { board, snapshot, version } = useBoard(visible, alarm);
  const [isMoving, setMoving] = useState(false);
  // Nothing above the columns comes or goes while a card is moved: they would move too.
  const hasFailed = useFrozen(snapshot.state === "failed", isMoving);

  if (!seesOrders || snapshot.state === "forbidden") {
    return (
      <main className={css.page}>
        <p className="panel notice">{t("totalsOnly")}</p>
      </main>
    );
  }
  return (
    <main className={css.page}>
      <header className={css.head}>
        <h2>{t("board")}</h2>
        {block !== null && <p className={css.note}>{block}</p>}
        <AlarmButton alarm={alarm} />
        <button type="button" className={css.button} onClick={() => setSettingsOpen(true)}>
          {t("boardSettings")}
        </button>
      </header>
      <AlarmBanner alarm={alarm} isFrozen={isMoving} />
      {hasFailed && (
        <p className="error" role="alert">
          {t("loadFailed")}
        </p>
      )}
      <BoardColumns statuses={statuses} visible={visible} board={board} version={version} isBusy={snapshot.state === "loading"} onMoving={setMoving} />
      {settingsOpen && <BoardSettings statuses={statuses} visible={visible} onClose={() => setSettingsOpen(false)} />}
    </main>
  );
}

/** The statuses of the map, then those that orders have without it; the same list until there is another status. */
function useBoardStatuses(meta: Meta): readonly string[] {
  const { statuses } = useStatuses();
  const names = JSON.stringify([...new Set([...choosableStatuses(meta), ...statuses])].filter((status) => status !== ""));
  return useMemo(() => JSON.parse(names) as string[], [names]);
}
