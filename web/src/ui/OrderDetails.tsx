import { useFormat } from "../format.ts";
import { useTranslations } from "../i18n.ts";
import { EventItem } from "./EventItem.tsx";
import { Modal } from "./Modal.tsx";
import { useDashboardStore, useDashboard } from "./use-dashboard.ts";

/** A dialog with one order and its latest events, updated live. */
export function OrderDetails({ id, onClose }: { id: number; onClose: () => void }) {
  const t = useTranslations();
  const format = useFormat();
  const store = useDashboardStore();
  useDashboard((snapshot) => snapshot.version);
  const order = store.orders.get(id);
  const events = useDashboard((snapshot) => snapshot.events).filter((event) => event.type !== "gap" && event.order_id === id);
  return (
    <Modal title={order === undefined ? t.order : `${t.order} ${order.number}`} onClose={onClose}>
      {order === undefined ? (
        <p>{t.orderDeleted}</p>
      ) : (
        <dl className="details">
          <dt>{t.columns.customer}</dt>
          <dd>{order.customer}</dd>
          <dt>{t.columns.total}</dt>
          <dd className="details-total">{format.money(order.total)}</dd>
          <dt>{t.columns.status}</dt>
          <dd>
            <span className={`badge ${order.status}`}>{t.status[order.status]}</span>
          </dd>
          <dt>{t.createdAt}</dt>
          <dd>{format.dateTime(order.createdAt)}</dd>
          <dt>{t.updatedAt}</dt>
          <dd>{format.dateTime(order.updatedAt)}</dd>
        </dl>
      )}
      {events.length > 0 && (
        <>
          <h3>{t.latestEvents}</h3>
          <ol className="event-list">
            {events.map((event) => (
              <EventItem key={event.id} event={event} />
            ))}
          </ol>
        </>
      )}
    </Modal>
  );
}
