import { useCallback, useEffect, useMemo, useRef } from "react";
import { useTranslate } from "../i18n.ts";
import { navigate, viewHref } from "../route.ts";
import { EMPTY_FILTER, filterQuery, parseFilter, type OrderFilter } from "../state/order-filter.ts";
import { EventsPanel } from "./EventsPanel.tsx";
import { OrdersPanel } from "./OrdersPanel.tsx";
import { PanelBoundary } from "./PanelBoundary.tsx";
import { StatusChart } from "./StatusChart.tsx";
import { TimeChart } from "./TimeChart.tsx";
import { Totals } from "./Totals.tsx";
import { useDashboard } from "./use-dashboard.ts";
import { useRoute } from "./use-route.ts";
import { ViewFrame } from "./ViewFrame.tsx";

/** The view "list": totals, charts, the list of orders and the events. */
export function Dashboard() {
  const seesOrders = useDashboard((snapshot) => snapshot.access) === "everything";
  const isAttached = useDashboard((snapshot) => snapshot.meta.table) !== null;
  const { filter, onFilter } = useListRoute();
  const search = useRef<HTMLInputElement>(null);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog[open]")) return;
      if (event.key === "/") {
        event.preventDefault(); // the slash must not be typed into the field
        search.current?.focus();
      } else if (event.key === "Escape") onFilter(EMPTY_FILTER);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [onFilter]);

  return (
    <ViewFrame>
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
          <div className="panel notice"><NoTable /></div>
        )}
      </main>
    </ViewFrame>
  );
}

/** The filter is in the address. */
function useListRoute() {
  const { query } = useRoute();
  const filter = useMemo(() => parseFilter(query), [query]);
  const onFilter = useCallback(
    (next: OrderFilter, typing = false) => {
      const nextQuery = filterQuery(next, query);
      // The back button leads to the list as it was before the first letter.
      if (nextQuery !== query) navigate(viewHref("list", nextQuery), { replace: typing && filter.text !== "" && next.text !== "" });
    },
    [query, filter],
  );
  return { filter, onFilter };
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
