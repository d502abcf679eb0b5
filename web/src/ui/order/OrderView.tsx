import { useEffect, useMemo, useRef, useState } from "react";
import { useTranslate } from "../../i18n.ts";
import { isPageKey, latinKey } from "../../keys.ts";
import { navigate, orderHref, viewHref } from "../../route.ts";
import { filterQuery } from "../../state/order-filter.ts";
import type { Order } from "../../state/order-list.ts";
import { Link } from "../Link.tsx";
import { StatusMenu } from "../StatusMenu.tsx";
import { useDashboard, useDashboardStore } from "../use-dashboard.ts";
import { useRoute } from "../use-route.ts";
import { ViewFrame } from "../ViewFrame.tsx";
import { History } from "./History.tsx";
import { OrderFields } from "./OrderFields.tsx";
import { OrderStatus } from "./OrderStatus.tsx";
import { ShareOrder } from "./ShareOrder.tsx";
import css from "./order.module.css";
import { useOrderDetail } from "./use-order-detail.ts";

/** The page of one order. */
export function OrderView() {
  const key = useRoute().orderKey ?? "";
  return (
    <ViewFrame>
      <OrderPage key={key} orderKey={key} />
    </ViewFrame>
  );
}

function OrderPage({ orderKey }: { orderKey: string }) {
  const t = useTranslate();
  const { state, order, isDeleted, events } = useOrderDetail(orderKey);
  const [menuOpen, setMenuOpen] = useState(false);
  const canAct = order !== null && !isDeleted && (state === "ready" || state === "loading");
  const { newer, older } = useNeighbours(orderKey);
  const listHref = viewHref("list", filterQuery(useDashboardStore().search.filter, ""));

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!isPageKey(event)) return;
      const key = latinKey(event);
      if (key === "j" && older) navigate(orderHref(older.key));
      else if (key === "k" && newer) navigate(orderHref(newer.key));
      else if (key === "s" && canAct) {
        event.preventDefault(); // the letter must not be typed
        setMenuOpen(true);
      } else if (key === "Escape") navigate(listHref);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [newer, older, canAct, listHref]);

  return (
    <main className={css.page}>
      <nav className={css.nav} aria-label={t("orderNavigation")}>
        <Link href={listHref}>{t("toList")}</Link>
        <Neighbour order={newer} label={t("newerOrder")} shortcut="K" />
        <Neighbour order={older} label={t("olderOrder")} shortcut="J" />
      </nav>
      <h2 className={css.title}>
        {t("order")} {order?.number ?? orderKey}
      </h2>
      {isDeleted && (
        <p className={css.deleted} role="status">
          {t("orderDeletedNote")}
        </p>
      )}
      {order === null ? (
        <p className={`panel ${css.nothing}`} role="status">
          {state === "unknown" ? t("unknownOrder", { key: orderKey }) : state === "loading" ? t("loading") : null}
        </p>
      ) : (
        <div className={css.columns}>
          <div className={css.column}>
            <OrderStatus order={order} isDeleted={isDeleted} events={events} onMenu={() => setMenuOpen(true)} />
            <OrderFields order={order} />
            <ShareOrder orderKey={orderKey} />
          </div>
          {/* The order's messages and its place on the map are to become panels of this column. */}
          <div className={css.column}>
            <History events={events} isLoading={state === "loading"} />
          </div>
        </div>
      )}
      {(state === "failed" || state === "forbidden") && (
        <p className={css.deleted} role="alert">
          {state === "failed" ? t("orderFailed") : t("totalsOnly")}
        </p>
      )}
      {menuOpen && order !== null && (
        <StatusMenu orders={[order]} onClose={() => setMenuOpen(false)} />
      )}
    </main>
  );
}

interface Neighbours {
  newer?: Order | undefined;
  older?: Order | undefined;
}

/** The orders beside this one in the list as it was last filtered; the last ones if the order does not match the filter any more. */
function useNeighbours(key: string): Neighbours {
  const store = useDashboardStore();
  const version = useDashboard((snapshot) => snapshot.version);
  const last = useRef<Neighbours>({});
  // oxlint-disable-next-line react/exhaustive-deps -- the list is the same object; each change of it has another version
  const orders = useMemo(() => store.search.matches(store.search.filter, Date.now()), [store, version]);
  return useMemo((): Neighbours => {
    const index = orders.findIndex((order) => order.key === key);
    if (index >= 0) last.current = { newer: orders[index - 1], older: orders[index + 1] };
    return last.current;
  }, [orders, key]);
}

function Neighbour({ order, label, shortcut }: { order: Order | undefined; label: string; shortcut: string }) {
  if (order === undefined) return null;
  return (
    <Link href={orderHref(order.key)}>
      {label} <bdi>{order.number}</bdi> <kbd aria-hidden="true">{shortcut}</kbd>
    </Link>
  );
}

