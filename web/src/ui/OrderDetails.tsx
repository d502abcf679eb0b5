import { useEffect, useState } from "react";
import { api } from "../api.ts";
import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import type { DashboardEvent } from "../state/dashboard-store.ts";
import { toOrder, type Order } from "../state/order-list.ts";
import { readableName } from "../status.ts";
import { EventItem } from "./EventItem.tsx";
import { Modal } from "./Modal.tsx";
import { StatusBadge } from "./StatusBadge.tsx";
import { useDashboardStore, useDashboard } from "./use-dashboard.ts";

/** A dialog with one order and its latest events, updated live. */
export function OrderDetails({ orderKey, onClose }: { orderKey: string; onClose: () => void }) {
  const t = useTranslate();
  const store = useDashboardStore();
  useDashboard((snapshot) => snapshot.version);
  const order = useWholeOrder(store.orders.get(orderKey) ?? store.search.get(orderKey));
  const events = useDashboard((snapshot) => snapshot.events).filter((event) => isOf(event, orderKey));
  return (
    <Modal title={order === undefined ? t("order") : `${t("order")} ${order.number}`} onClose={onClose}>
      {order === undefined ? <p>{t("orderDeleted")}</p> : <Fields order={order} />}
      {events.length > 0 && (
        <>
          <h3>{t("latestEvents")}</h3>
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

/** Whether it is an event of the order, or of a row that belongs to it. */
function isOf(event: DashboardEvent, orderKey: string): boolean {
  return event.type !== "gap" && ("stream" in event ? String(event.order_id) : event.key) === orderKey;
}

/** The order as the server has it if events had fields of it cut; until it is loaded, and if that fails, the order as given. */
function useWholeOrder(order: Order | undefined): Order | undefined {
  const [loaded, setLoaded] = useState<{ of: Order; whole: Order }>();
  useEffect(() => {
    if (order === undefined || order.truncated.length === 0) return;
    let current = true;
    api.order(order.key).then(
      (row) => current && setLoaded({ of: order, whole: toOrder(row, order.rank) }),
      () => undefined,
    );
    return () => {
      current = false;
    };
  }, [order]);
  return loaded?.of === order ? (loaded?.whole ?? order) : order;
}

function Fields({ order }: { order: Order }) {
  const t = useTranslate();
  const format = useFormat();
  return (
    <>
      <dl className="details">
        {order.number !== order.key && (
          <>
            <dt>{t("key")}</dt>
            <dd>{order.key}</dd>
          </>
        )}
        <dt>{t("columns.customer")}</dt>
        <dd>
          <bdi>{order.customer ?? "–"}</bdi>
        </dd>
        <dt>{t("columns.total")}</dt>
        <dd className="details-total">{format.money(order.total, order.currency)}</dd>
        <dt>{t("columns.status")}</dt>
        <dd>
          <StatusBadge status={order.status} />
        </dd>
        <dt>{t("createdAt")}</dt>
        <dd>{format.dateTime(order.createdAt)}</dd>
        {Object.entries(order.data ?? {}).map(([name, value]) => (
          <div key={name}>
            <dt>{readableName(name)}</dt>
            <dd>{dataText(value)}</dd>
          </div>
        ))}
      </dl>
      {order.truncated.length > 0 && <p className="details-note">{t("truncated")}</p>}
    </>
  );
}

/** A value of `data`, which may be any JSON. */
function dataText(value: unknown): string {
  if (value === null) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}
