import { useFormat } from "../../format.ts";
import { useTranslate } from "../../i18n.ts";
import { statusSince, type HistoryEvent } from "../../state/order-detail.ts";
import type { Order } from "../../state/order-list.ts";
import { choosableStatuses, isAllowed } from "../../state/status-rules.ts";
import { statusLabel } from "../../status.ts";
import { StatusBadge } from "../StatusBadge.tsx";
import { useStatusAppearance } from "../use-texts.ts";
import { useDashboard, useDashboardStore } from "../use-dashboard.ts";
import { useNow } from "../use-now.ts";
import { useStatusChanges, useWriteBlock } from "../use-status-changes.ts";
import css from "./order.module.css";

interface Props {
  order: Order;
  isDeleted: boolean;
  events: readonly HistoryEvent[];
  onMenu: () => void;
}

/** The order's status, since when it has it, and buttons for those that may follow. */
export function OrderStatus({ order, isDeleted, events, onMenu }: Props) {
  const t = useTranslate();
  const store = useDashboardStore();
  const appearance = useStatusAppearance();
  const meta = useDashboard((snapshot) => snapshot.meta);
  const change = useStatusChanges().changes.get(order.key);
  const block = useWriteBlock();
  const status = change?.to ?? order.status;
  const isBusy = change !== undefined && change.state !== "changed";
  // Without permission all are shown, disabled; with it, those that the map allows.
  const next = choosableStatuses(meta).filter((to) => (block === null ? isAllowed(meta, status, to) : to !== status));
  const choose = (to: string) => void store.statusChanges.change([{ ...order, status }], to);
  return (
    <section className={`panel ${css.panel}`} aria-labelledby="status-title">
      <h3 id="status-title">{t("columns.status")}</h3>
      <p className={css.status} aria-busy={isBusy}>
        <StatusBadge key={status} status={status} />
        <span role="status">{change?.state === "unknown" ? t("outcomeUnknownShort") : isBusy ? t("changing") : isDeleted ? t("lastStatus") : ""}</span>
        {!isBusy && !isDeleted && <Since events={events} />}
      </p>
      {!isDeleted && (
        <>
          <div className={css.actions} role="group" aria-label={t("nextStatus")}>
            {next.map((to) => {
              const { className, style } = appearance(to);
              return (
                <button
                  key={to}
                  type="button"
                  className={`${css.action} ${className}`}
                  style={style}
                  data-next={to}
                  disabled={block !== null || isBusy}
                  aria-describedby={block === null ? undefined : "write-block"}
                  onClick={() => choose(to)}
                >
                  {statusLabel(to, t)}
                </button>
              );
            })}
            {block === null && next.length === 0 && <p className={css.note}>{t("noNextStatus")}</p>}
            <button type="button" className={css.more} onClick={onMenu}>
              {t("allStatuses")} <kbd aria-hidden="true">S</kbd>
            </button>
          </div>
          {block !== null && (
            <p id="write-block" className={css.note}>
              {block}
            </p>
          )}
        </>
      )}
    </section>
  );
}

function Since({ events }: { events: readonly HistoryEvent[] }) {
  const t = useTranslate();
  const format = useFormat();
  const now = useNow(1_000);
  const since = statusSince(events);
  return since === null ? null : <span data-since>{t("forDuration", { duration: format.duration(now - since) })}</span>;
}
