import { useCallback } from "react";
import { useFormat } from "../format.ts";
import { useTranslations } from "../i18n.ts";
import type { OrderFilter } from "../state/order-filter.ts";
import { countByStatus, ORDER_STATUSES } from "../state/order-summary.ts";
import { useDashboardStore } from "./use-dashboard.ts";
import { useOrderSummary } from "./use-order-summary.ts";

/** The counts do not depend on the time. */
const NO_TIME_KEY = () => 0;

/** A bar per status with the number of its orders. A click on it filters the table. */
export function StatusChart({ filter, onFilter }: { filter: OrderFilter; onFilter: (filter: OrderFilter) => void }) {
  const t = useTranslations();
  const format = useFormat();
  const store = useDashboardStore();
  const counts = useOrderSummary(useCallback(countByStatus, []), NO_TIME_KEY);
  const total = ORDER_STATUSES.reduce((sum, status) => sum + counts[status], 0);
  const max = Math.max(1, ...ORDER_STATUSES.map((status) => counts[status]));
  return (
    <section className="panel status-chart" aria-labelledby="status-chart-title">
      <header>
        <h2 id="status-chart-title">{t.byStatus}</h2>
        <p>{store.orders.isComplete ? t.allOrders : t.latestOrders(total)}</p>
      </header>
      <ul>
        {ORDER_STATUSES.map((status) => (
          <li key={status}>
            <button
              type="button"
              className={`status-row ${status}`}
              aria-pressed={filter.status === status}
              title={t.filterByStatus}
              onClick={() => onFilter({ ...filter, status: filter.status === status ? null : status })}
            >
              <span className="status-name">{t.status[status]}</span>
              <span className="status-bar">
                <span style={{ transform: `translateX(${(counts[status] / max - 1) * 100}%)` }} />
              </span>
              <span className="status-count" data-count={status}>
                {format.count(counts[status])}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
