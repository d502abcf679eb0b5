import type { OrderEvent } from "@orderwire/client";
import { memo } from "react";
import { useFormat } from "../format.ts";
import { useTranslations } from "../i18n.ts";
import type { GapMarker } from "../state/dashboard-store.ts";

export const EventItem = memo(function EventItem({ event }: { event: OrderEvent | GapMarker }) {
  const t = useTranslations();
  const format = useFormat();
  const at = Date.parse(event.at);
  return (
    <li className={`event ${event.type}`} data-event={event.id}>
      <time dateTime={event.at} title={format.dateTime(at)}>
        {format.time(at)}
      </time>
      {event.type === "gap" ? <span>{t.gapMarker}</span> : <EventDescription event={event} />}
    </li>
  );
});

function EventDescription({ event }: { event: OrderEvent }) {
  const t = useTranslations();
  const format = useFormat();
  const details = [
    "customer_name" in event ? event.customer_name : undefined,
    "total" in event && event.total !== undefined ? format.money(event.total) : undefined,
  ].filter((detail) => detail !== undefined);
  return (
    <span className="event-description">
      <b>{event.order_number}</b>{" "}
      {event.type === "new_order" && t.eventCreated}
      {event.type === "order_update" && t.eventChanged}
      {event.type === "order_delete" && t.eventDeleted}
      {event.type === "order_status_update" && (
        <>
          <span className={`badge ${event.previous_status} previous`}>{t.status[event.previous_status]}</span>
          <span aria-hidden="true"> → </span>
          <span className={`badge ${event.status}`}>{t.status[event.status]}</span>
        </>
      )}
      {details.length > 0 && <small> {details.join(" · ")}</small>}
    </span>
  );
}
