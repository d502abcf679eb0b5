import { useEffect, useRef, useState } from "react";
import { useTranslate } from "../i18n.ts";
import { EMPTY_FILTER } from "../state/order-filter.ts";
import { EventsPanel } from "./EventsPanel.tsx";
import { OrdersTable } from "./OrdersTable.tsx";
import { StatusChart } from "./StatusChart.tsx";
import { TimeChart } from "./TimeChart.tsx";
import { Totals } from "./Totals.tsx";
import { useDashboard } from "./use-dashboard.ts";
import { openOrder, ViewFrame } from "./ViewFrame.tsx";

export function Dashboard() {
  const t = useTranslate();
  const seesOrders = useDashboard((snapshot) => snapshot.access) === "everything";
  const isAttached = useDashboard((snapshot) => snapshot.meta.table) !== null;
  const [filter, setFilter] = useState(EMPTY_FILTER);
  const search = useRef<HTMLInputElement>(null);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog[open]")) return;
      if (event.key === "/") {
        event.preventDefault(); // the slash must not be typed into the field
        search.current?.focus();
      } else if (event.key === "Escape") setFilter(EMPTY_FILTER);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);

  return (
    <ViewFrame>
      <main className={seesOrders && isAttached ? "dashboard" : "dashboard totals-only"}>
        <Totals />
        {seesOrders && isAttached ? (
          <>
            <TimeChart />
            <StatusChart filter={filter} onFilter={setFilter} />
            <OrdersTable filter={filter} onFilter={setFilter} onOpen={openOrder} search={search} />
            <EventsPanel />
          </>
        ) : (
          <div className="panel notice">{seesOrders ? <NoTable /> : <p>{t("totalsOnly")}</p>}</div>
        )}
      </main>
    </ViewFrame>
  );
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
