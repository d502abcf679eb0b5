import { useFormat } from "../format.ts";
import { useWords } from "../words.ts";
import { EventLine } from "./EventLine.tsx";
import { Modal } from "./Modal.tsx";
import { useLive, useView } from "./use-live.ts";

/** One order, as it is now and goes on. */
export function OrderDetails({ id, onClose }: { id: number; onClose: () => void }) {
  const words = useWords();
  const format = useFormat();
  const live = useLive();
  useView((view) => view.version);
  const order = live.book.get(id);
  const events = useView((view) => view.events).filter((event) => event.type !== "gap" && event.order_id === id);
  return (
    <Modal title={order === undefined ? words.details : `${words.details} ${order.number}`} onClose={onClose}>
      {order === undefined ? (
        <p>{words.wasDeleted}</p>
      ) : (
        <dl className="details">
          <dt>{words.columns.customer}</dt>
          <dd>{order.customer}</dd>
          <dt>{words.columns.total}</dt>
          <dd className="details-total">{format.money(order.total)}</dd>
          <dt>{words.columns.status}</dt>
          <dd>
            <span className={`badge ${order.status}`}>{words.status[order.status]}</span>
          </dd>
          <dt>{words.createdAt}</dt>
          <dd>{format.full(order.createdAt)}</dd>
          <dt>{words.updatedAt}</dt>
          <dd>{format.full(order.updatedAt)}</dd>
        </dl>
      )}
      {events.length > 0 && (
        <>
          <h3>{words.history}</h3>
          <ol className="event-list">
            {events.map((event) => (
              <EventLine key={event.id} event={event} />
            ))}
          </ol>
        </>
      )}
    </Modal>
  );
}
