import type { OrderEvent, StreamEvent } from "@orderwire/client";
import { Fragment, memo } from "react";
import { actorName } from "../actor.ts";
import type { Described } from "../format.ts";
import type { Translate } from "../i18n.ts";
import type { DashboardEvent } from "../state/dashboard-store.ts";
import { normalizedStatus } from "../status.ts";
import { Badge } from "./StatusBadge.tsx";
import type { Texts } from "./use-texts.ts";

export const EventItem = memo(function EventItem({ event, texts }: { event: DashboardEvent; texts: Texts }) {
  const { t, format } = texts;
  return (
    <li className={`event ${event.type}`} data-event={event.id}>
      <time dateTime={event.at} title={format.dateTime(event.at)}>
        {format.time(event.at)}
      </time>
      {event.type === "gap" ? <span>{t("gapMarker")}</span> : <EventDescription event={event} texts={texts} />}
    </li>
  );
});

function EventDescription({ event, texts }: { event: OrderEvent | StreamEvent; texts: Texts }) {
  const { t, format } = texts;
  const { actor } = event;
  const by = actor && t("changedBy", { name: actorName(actor) });
  const { customer_name = null, total = null, currency = null }: Described = "stream" in event ? {} : event;
  const amount = total === null ? null : format.money(total, currency);
  // Each by itself: a name that is written from right to left must not turn the amount beside it around.
  const details = [customer_name, amount, by ?? null].filter((text): text is string => text !== null && text !== "");
  return (
    <span className="event-description">
      <b>
        <bdi>{"stream" in event ? `${event.stream} ${event.key}` : (event.order_number ?? event.key)}</bdi>
      </b>{" "}
      {event.type === "order_status_update" ? (
        <>
          <Badge status={normalizedStatus(event.previous_status)} className="previous" texts={texts} />
          <span aria-hidden="true"> → </span>
          <Badge status={normalizedStatus(event.status)} texts={texts} />
        </>
      ) : (
        changeName(event.type, t)
      )}
      {details.length > 0 && (
        <small>
          {" "}
          {details.map((text, index) => (
            <Fragment key={index}>
              {index > 0 && " · "}
              <bdi>{text}</bdi>
            </Fragment>
          ))}
        </small>
      )}
    </span>
  );
}

function changeName(type: Exclude<OrderEvent | StreamEvent, { type: "order_status_update" }>["type"], t: Translate): string {
  if (type === "new_order" || type === "row_insert") return t("eventCreated");
  return type === "order_delete" || type === "row_delete" ? t("eventDeleted") : t("eventChanged");
}
