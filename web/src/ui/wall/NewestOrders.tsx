import { useFormat } from "../../format.ts";
import { useTranslate } from "../../i18n.ts";
import { StatusBadge } from "../StatusBadge.tsx";
import { useDashboard, useDashboardStore } from "../use-dashboard.ts";
import styles from "./Wall.module.css";

/** More than fit on any screen: those below its edge are not visible. */
const MAX_ORDERS = 12;

/** The newest orders with their present status, newest first. */
export function NewestOrders() {
  const t = useTranslate();
  const format = useFormat();
  const store = useDashboardStore();
  useDashboard((snapshot) => snapshot.version);
  const orders = store.orders.all().slice(-MAX_ORDERS).reverse();
  return (
    <section className={styles.stream} aria-labelledby="newest-title">
      <h2 id="newest-title">{t("wall.newest")}</h2>
      <ol>
        {orders.map((order) => (
          <li key={order.key}>
            <b>{order.number}</b>
            <span>{format.money(order.total, order.currency)}</span>
            <time dateTime={order.createdAt ?? undefined}>{format.time(order.createdAt)}</time>
            <StatusBadge status={order.status} />
          </li>
        ))}
      </ol>
    </section>
  );
}
