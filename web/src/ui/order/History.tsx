import { memo, useMemo } from "react";
import { actorName } from "../../actor.ts";
import { useFormat } from "../../format.ts";
import { useTranslate } from "../../i18n.ts";
import { gaps, type HistoryEvent } from "../../state/order-detail.ts";
import { normalizedStatus, readableName } from "../../status.ts";
import { StatusBadge } from "../StatusBadge.tsx";
import { DataValue } from "./DataValue.tsx";
import css from "./order.module.css";

/** What happened to the order, newest first, with the time between one event and the next. */
export function History({ events, isLoading }: { events: readonly HistoryEvent[]; isLoading: boolean }) {
  const t = useTranslate();
  const durations = useMemo(() => gaps(events), [events]);
  return (
    <section className={`panel ${css.panel}`} aria-labelledby="history-title">
      <h3 id="history-title">{t("history")}</h3>
      {events.length === 0 ? (
        <p className={css.note}>{isLoading ? t("loading") : t("noHistory")}</p>
      ) : (
        <ol className={css.history}>
          {events.map((event) => (
            <Entry key={event.id} event={event} after={durations.get(event.id)} />
          ))}
        </ol>
      )}
      {!isLoading && events.length > 0 && events.at(-1)?.type !== "new_order" && <p className={css.note}>{t("historyBegins")}</p>}
    </section>
  );
}

const Entry = memo(function Entry({ event, after }: { event: HistoryEvent; after: number | undefined }) {
  const t = useTranslate();
  const format = useFormat();
  return (
    <li className={`${css.entry} ${event.type}`} data-event={event.id}>
      <div className={css.entryHead}>
        <Happening event={event} />
        <time dateTime={event.at}>{format.dateTime(event.at)}</time>
      </div>
      <Details event={event} />
      {event.actor && <p className={css.actor}>{t("changedBy", { name: actorName(event.actor) })}</p>}
      {after !== undefined && (
        <p className={css.after} data-after={Math.round(after)}>
          {t("afterDuration", { duration: format.duration(after) })}
        </p>
      )}
    </li>
  );
});

function Happening({ event }: { event: HistoryEvent }) {
  const t = useTranslate();
  switch (event.type) {
    case "order_status_update":
      return (
        <span>
          <StatusBadge status={normalizedStatus(event.previous_status)} className="previous" />
          <span aria-hidden="true"> → </span>
          <StatusBadge status={normalizedStatus(event.status)} />
        </span>
      );
    case "new_order":
      return (
        <b>
          {t("eventCreated")} <StatusBadge status={normalizedStatus(event.status)} />
        </b>
      );
    case "order_update":
      return <b>{t("eventChanged")}</b>;
    case "order_delete":
      return <b>{t("eventDeleted")}</b>;
    default:
      return (
        <b>
          {readableName(event.stream)} {event.key}: {t(event.type === "row_insert" ? "eventCreated" : event.type === "row_delete" ? "eventDeleted" : "eventChanged")}
        </b>
      );
  }
}

/** The fields that the event has, besides the status. */
function Details({ event }: { event: HistoryEvent }) {
  const t = useTranslate();
  const format = useFormat();
  const rows: [string, React.ReactNode][] = [];
  if (!("stream" in event) && event.type !== "order_delete") {
    const { customer_name: customer, total, currency } = event;
    const previous = event.type === "new_order" ? undefined : event.previous_total;
    if (customer !== undefined) rows.push([t("columns.customer"), customer ?? "–"]);
    if (total !== undefined && (event.type !== "order_status_update" || (previous !== undefined && previous !== total))) {
      const before = previous === undefined || previous === total ? "" : `${format.money(previous, currency)} → `;
      rows.push([t("columns.total"), before + format.money(total, currency)]);
    }
  }
  for (const [name, value] of Object.entries(event.data ?? {})) rows.push([readableName(name), <DataValue key={name} value={value} />]);
  if (rows.length === 0) return null;
  return (
    <dl className={css.nested}>
      {rows.map(([name, value], index) => (
        <div key={index}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
