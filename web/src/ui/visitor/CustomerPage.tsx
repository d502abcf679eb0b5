import { useEffect } from "react";
import { useTranslate } from "../../i18n.ts";
import { navigate, orderHref, viewHref } from "../../route.ts";
import { FeedFrame } from "../FeedFrame.tsx";
import { Header } from "../Header.tsx";
import { useDashboard, useDashboardStore } from "../use-dashboard.ts";
import { useRoute } from "../use-route.ts";
import { OwnOrder } from "./OwnOrder.tsx";
import styles from "./Visitor.module.css";

/** What a customer sees: the own orders, each with its progress and its history. */
export default function CustomerPage() {
  const t = useTranslate();
  const store = useDashboardStore();
  const ordersState = useDashboard((snapshot) => snapshot.ordersState);
  const { orderKey } = useRoute();
  useDashboard((snapshot) => snapshot.version);
  const orders = store.orders.filter();
  useEffect(() => {
    if (orderKey !== null) document.getElementById(`order-${orderKey}`)?.scrollIntoView();
  }, [ordersState, orderKey]);

  return (
    <>
      <Header />
      <FeedFrame />
      <main className={styles.customer}>
        <h2>{t("visitor.yourOrders")}</h2>
        {ordersState === "failed" && (
          <p className="error" role="alert">
            {t("loadFailed")}
          </p>
        )}
        {orders.length === 0 && ordersState !== "failed" && <p>{ordersState === "loading" ? t("loading") : t("visitor.noOrders")}</p>}
        <ol className={styles.orders}>
          {orders.map((order) => (
            <OwnOrder
              key={order.key}
              order={order}
              open={order.key === orderKey}
              onToggle={(open) => navigate(open ? orderHref(order.key) : viewHref("list"), { replace: true })}
            />
          ))}
        </ol>
        {store.orders.next !== undefined && (
          <button type="button" className="secondary" onClick={() => void store.loadOlderOrders()}>
            {t("visitor.older")}
          </button>
        )}
      </main>
    </>
  );
}
