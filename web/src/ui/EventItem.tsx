import type { OrderEvent, StreamEvent } from "@orderwire/client";
import { memo } from "react";
import { actorName } from "../actor.ts";
import { useFormat } from "../format.ts";
import { useTranslate, type Translate } from "../i18n.ts";
import type { DashboardEvent } from "../state/dashboard-store.ts";
import { normalizedStatus } from "../status.ts";
import { StatusBadge } from "./StatusBadge.tsx";

export const EventItem = memo(function EventItem({ event }: { event: DashboardEvent }) {
  const t = useTranslate();
  const format = useFormat();
  return (
    <li className={`event ${event.type}`} data-event={event.id}>
      <time dateTime={event.at} title={format.dateTime(event.at)}>
        {format.time(event.at)}
      </time>
      {event.type === "gap" ? <span>{t("gapMarker")}</span> : <EventDescription event={event} />}
    </li>
  );
});

function EventDescription({ event }: { event: OrderEvent | StreamEvent }) {
  const t = useTranslate();
  const format = useFormat();
  const { actor } = event;
  const by = actor && t("changedBy", { name: actorName(actor) });
  const details = ["stream" in event ? "" : format.summary(event), by].filter(Boolean);
  return (
    <span className="event-description">
      <b>{"stream" in event ? `${event.stream} ${event.key}` : (event.order_number ?? event.key)}</b>{" "}
      {event.type === "order_status_update" ? (
        <>
          <StatusBadge status={normalizedStatus(event.previous_status)} className="previous" />
          <span aria-hidden="true"> → </span>
          <StatusBadge status={normalizedStatus(event.status)} />
        </>
      ) : (
        changeName(event.type, t)
      )}
      {details.length > 0 && <small> {details.join(" · ")}</small>}
    </span>
  );
}

function changeName(type: Exclude<OrderEvent | StreamEvent, { type: "order_status_update" }>["type"], t: Translate): string {
  if (type === "new_order" || type === "row_insert") return t("eventCreated");
  return type === "order_delete" || type === "row_delete" ? t("eventDeleted") : t("eventChanged");
}
