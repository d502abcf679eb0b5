import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { useTranslate } from "../i18n.ts";
import { navigate, orderHref, viewHref } from "../route.ts";
import { EMPTY_FILTER, filterQuery, parseFilter, type OrderFilter } from "../state/order-filter.ts";
import { EventsPanel } from "./EventsPanel.tsx";
import { FeedFrame } from "./FeedFrame.tsx";
import { Header } from "./Header.tsx";
import { OrderDetails } from "./OrderDetails.tsx";
import { OrdersPanel } from "./OrdersPanel.tsx";
import { PanelBoundary } from "./PanelBoundary.tsx";
import { ShortcutsHelp } from "./ShortcutsHelp.tsx";
import { StatusChart } from "./StatusChart.tsx";
import { TimeChart } from "./TimeChart.tsx";
import { Toasts } from "./Toasts.tsx";
import { Totals } from "./Totals.tsx";
import { useDashboard } from "./use-dashboard.ts";
import { useRoute } from "./use-route.ts";

/** The view "list": totals, charts, the list of orders and the events. */
export function Dashboard() {
  const t = useTranslate();
  const seesOrders = useDashboard((snapshot) => snapshot.access) === "everything";
  const isAttached = useDashboard((snapshot) => snapshot.meta.table) !== null;
  const { filter, onFilter, listHref, openOrder } = useListRoute();
  const [helpOpen, setHelpOpen] = useState(false);
  const search = useRef<HTMLInputElement>(null);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog[open]")) return;
      if (event.key === "/") {
        event.preventDefault(); // the slash must not be typed into the field
        search.current?.focus();
      } else if (event.key === "?") setHelpOpen(true);
      else if (event.key === "Escape") onFilter(EMPTY_FILTER);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [onFilter]);

  return (
    <>
      <FeedFrame />
      <Header onHelp={() => setHelpOpen(true)} />
      <main className={seesOrders && isAttached ? "dashboard" : "dashboard totals-only"}>
        <PanelBoundary className="totals">
          <Totals />
        </PanelBoundary>
        {seesOrders && isAttached ? (
          <>
            <PanelBoundary className="chart">
              <TimeChart />
            </PanelBoundary>
            <PanelBoundary className="status-chart">
              <StatusChart filter={filter} onFilter={onFilter} />
            </PanelBoundary>
            <PanelBoundary className="orders">
              <OrdersPanel filter={filter} onFilter={onFilter} search={search} />
            </PanelBoundary>
            <PanelBoundary className="events">
              <EventsPanel />
            </PanelBoundary>
          </>
        ) : (
          <div className="panel notice">{seesOrders ? <NoTable /> : <p>{t("totalsOnly")}</p>}</div>
        )}
      </main>
      <PanelBoundary className="toasts">
        <Toasts onOpen={(key) => navigate(orderHref(key))} />
      </PanelBoundary>
      {openOrder !== null && <OrderDetails orderKey={openOrder} onClose={() => navigate(listHref)} />}
      {helpOpen && <ShortcutsHelp onClose={() => setHelpOpen(false)} />}
    </>
  );
}

/** The filter is in the address. While an order is open over the list, it is that of the list's last address. */
function useListRoute() {
  const { view, orderKey, query } = useRoute();
  const lastQuery = useRef("");
  const listQuery = view === "list" ? query : lastQuery.current;
  useLayoutEffect(() => {
    lastQuery.current = listQuery;
  }, [listQuery]);
  const filter = useMemo(() => parseFilter(listQuery), [listQuery]);
  const onFilter = useCallback(
    (next: OrderFilter, typing = false) => {
      const nextQuery = filterQuery(next, listQuery);
      // The back button leads to the list as it was before the first letter.
      if (nextQuery !== listQuery) navigate(viewHref("list", nextQuery), { replace: typing && filter.text !== "" && next.text !== "" });
    },
    [listQuery, filter],
  );
  return { filter, onFilter, listHref: viewHref("list", listQuery), openOrder: view === "order" ? orderKey : null };
}

function NoTable() {
  const t = useTranslate();
  return (
    <>
      <p>{t("noTable")}</p>
      <pre>python server.py attach</pre>
    </>
  );
}
