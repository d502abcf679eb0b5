import { useEffect } from "react";
import { actorName } from "../actor.ts";
import { useTranslate, type MessageKey, type Translate } from "../i18n.ts";
import { isPageKey, latinKey } from "../keys.ts";
import type { Notice, Outcome } from "../state/status-change.ts";
import { statusLabel } from "../status.ts";
import * as icon from "./icons.tsx";
import css from "./status-notices.module.css";
import { useDashboardStore } from "./use-dashboard.ts";
import { useStatusChanges } from "./use-status-changes.ts";

/**
 * What became of the changes of the user, side by side in the line of messages; the last one can be undone for some seconds. A narrow
 * screen has room for the newest only, and shows those before when it is gone.
 */
export function StatusNotices() {
  const t = useTranslate();
  const { statusChanges } = useDashboardStore();
  const notices = useStatusChanges().notices.filter(isShown);
  const undoable = notices.findLast(({ canUndo }) => canUndo);

  useEffect(() => {
    if (undoable === undefined) return;
    const onKey = (event: KeyboardEvent) => {
      if (isPageKey(event) && latinKey(event) === "u") void statusChanges.undo(undoable.key);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [statusChanges, undoable]);

  return (
    <section className={css.notices} data-messages aria-label={t("statusChanges")} role="status">
      {notices.map((notice) => (
        <div key={notice.key} className={`${css.notice} ${hasProblem(notice) ? css.problem : ""}`} data-notice={notice.to}>
          <p title={noticeText(notice, t)}>{noticeText(notice, t)}</p>
          {notice.canUndo && (
            <button type="button" className={css.undo} onClick={() => void statusChanges.undo(notice.key)}>
              {t("undo")} <kbd aria-hidden="true">U</kbd>
            </button>
          )}
          {isOver(notice) && (
            <button type="button" className={`toast-close ${css.close}`} aria-label={t("dismiss")} onClick={() => statusChanges.dismiss(notice.key)}>
              <icon.Close />
            </button>
          )}
        </div>
      ))}
    </section>
  );
}

function isOver({ outcomes, numbers }: Notice): boolean {
  return outcomes.length === numbers.length;
}

function isOfSeveral({ numbers, already }: Notice): boolean {
  return numbers.length + already > 1;
}

/** While a single order is being changed, that is shown at the order. */
function isShown(notice: Notice): boolean {
  return isOfSeveral(notice) || isOver(notice) || notice.unknown > 0;
}

function hasProblem({ outcomes, unknown }: Notice): boolean {
  return unknown > 0 || outcomes.some(({ kind }) => kind !== "changed");
}

export function noticeText(notice: Notice, t: Translate): string {
  const [outcome] = notice.outcomes;
  if (!isOfSeveral(notice)) return outcome === undefined ? t("outcomeUnknown", { orderNumber: notice.numbers[0] as string }) : singleText(notice, outcome, t);
  const of = (kind: Outcome["kind"]) => notice.outcomes.filter((found) => found.kind === kind).length;
  const parts: [MessageKey, number][] = [
    ["nChanged", of("changed")],
    [notice.isUndo ? "nOvertaken" : "nFaster", of("faster")],
    ["nRefused", of("refused")],
    ["nGone", of("gone")],
    ["nUnchanged", of("unchanged")],
    ["nUnknown", notice.unknown],
    ["nAlready", notice.already],
  ];
  const shown = parts.filter(([key, count], index) => count > 0 || (index === 0 && key === "nChanged"));
  const text = shown.map(([key, count]) => t(key, { count })).join(", ");
  const refused = notice.outcomes.find((found) => found.kind === "refused");
  const head = notice.isUndo ? t("undone") : `→ ${statusLabel(notice.to, t)}`;
  const rest = notice.numbers.length - notice.outcomes.length - notice.unknown;
  return `${head}: ${text}${rest > 0 ? `, ${t("nWaiting", { count: rest })}` : ""}${refused ? ` (${refusalText(refused, t)})` : ""}`;
}

function singleText({ numbers, to, isUndo }: Notice, outcome: Outcome, t: Translate): string {
  const values = { orderNumber: numbers[0] as string, status: statusLabel(to, t) };
  switch (outcome.kind) {
    case "changed":
      return t(isUndo ? "oneUndone" : "oneChanged", values);
    case "faster": {
      const status = statusLabel(outcome.status, t);
      if (outcome.actor === null) return t(isUndo ? "otherOvertook" : "otherFaster", { ...values, status });
      return t(isUndo ? "actorOvertook" : "actorFaster", { ...values, status, name: actorName(outcome.actor) });
    }
    case "refused":
      return t("oneRefused", { ...values, reason: refusalText(outcome, t) });
    case "gone":
      return t("oneGone", values);
    case "unchanged":
      return t("oneUnchanged", values);
  }
}

/** The texts of the server are in English, and those of the shop's own triggers in whatever language they are. */
function refusalText({ reason, message }: Extract<Outcome, { kind: "refused" }>, t: Translate): string {
  return reason === "transition" || reason === "undo" ? t(`refusal.${reason}`) : message;
}
