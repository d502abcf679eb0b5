import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import type { OrderFilter } from "../state/order-filter.ts";
import { statusLabel } from "../status.ts";
import { useStatusAppearance } from "./StatusBadge.tsx";
import { useDashboardStore } from "./use-dashboard.ts";
import { useStatuses } from "./use-statuses.ts";

/** A bar per status with the number of its orders. A click on it filters the table. */
export function StatusChart({ filter, onFilter }: { filter: OrderFilter; onFilter: (filter: OrderFilter) => void }) {
  const t = useTranslate();
  const format = useFormat();
  const store = useDashboardStore();
  const appearance = useStatusAppearance();
  const { statuses, counts } = useStatuses();
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const max = Math.max(1, ...counts.values());
  return (
    <section className="panel status-chart" aria-labelledby="status-chart-title">
      <header>
        <h2 id="status-chart-title">{t("byStatus")}</h2>
        <p>{store.orders.isComplete ? t("allOrders") : t("latestOrders", { count: total })}</p>
      </header>
      <ul>
        {statuses.map((status) => {
          const { className, style } = appearance(status);
          const count = counts.get(status) ?? 0;
          return (
            <li key={status}>
              <button
                type="button"
                className={`status-row ${className}`}
                style={style}
                aria-pressed={filter.status === status}
                title={t("filterByStatus")}
                onClick={() => onFilter({ ...filter, status: filter.status === status ? null : status })}
              >
                <span className="status-name">{statusLabel(status, t)}</span>
                <span className="status-bar">
                  <span style={{ transform: `translateX(${(count / max - 1) * 100}%)` }} />
                </span>
                <span className="status-count" data-count={status}>
                  {format.count(count)}
                </span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
