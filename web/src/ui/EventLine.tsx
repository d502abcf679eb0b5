import type { OrderEvent } from "@orderwire/client";
import { memo } from "react";
import { useFormat } from "../format.ts";
import type { Gap } from "../state/live.ts";
import { useWords } from "../words.ts";

export const EventLine = memo(function EventLine({ event }: { event: OrderEvent | Gap }) {
  const words = useWords();
  const format = useFormat();
  const at = Date.parse(event.at);
  return (
    <li className={`event ${event.type}`} data-event={event.id}>
      <time dateTime={event.at} title={format.full(at)}>
        {format.time(at)}
      </time>
      {event.type === "gap" ? <span>{words.gap}</span> : <What event={event} />}
    </li>
  );
});

function What({ event }: { event: OrderEvent }) {
  const words = useWords();
  const format = useFormat();
  const details = [
    "customer_name" in event ? event.customer_name : undefined,
    "total" in event && event.total !== undefined ? format.money(event.total) : undefined,
  ].filter((detail) => detail !== undefined);
  return (
    <span className="event-what">
      <b>{event.order_number}</b>{" "}
      {event.type === "new_order" && words.created}
      {event.type === "order_update" && words.changed}
      {event.type === "order_delete" && words.deleted}
      {event.type === "order_status_update" && (
        <>
          <span className={`badge ${event.previous_status} past`}>{words.status[event.previous_status]}</span>
          <span aria-hidden="true"> → </span>
          <span className={`badge ${event.status}`}>{words.status[event.status]}</span>
        </>
      )}
      {details.length > 0 && <small> {details.join(" · ")}</small>}
    </span>
  );
}
