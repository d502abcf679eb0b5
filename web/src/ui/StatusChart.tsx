import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import { toggleStatus, type OrderFilter } from "../state/order-filter.ts";
import { statusLabel } from "../status.ts";
import { SeriesNote } from "./SeriesNote.tsx";
import { useStatusAppearance } from "./use-texts.ts";
import { useStatuses } from "./use-statuses.ts";

/** A bar per status with the number of its orders in the whole table. A click on it filters the list. */
export function StatusChart({ filter, onFilter }: { filter: OrderFilter; onFilter: (filter: OrderFilter) => void }) {
  const t = useTranslate();
  const format = useFormat();
  const appearance = useStatusAppearance();
  const { statuses, counts } = useStatuses();
  const max = Math.max(1, ...(counts?.values() ?? []));
  return (
    <section className="panel status-chart" aria-labelledby="status-chart-title">
      <header>
        <h2 id="status-chart-title">{t("byStatus")}</h2>
        <p>{t("allOrders")}</p>
        <SeriesNote />
      </header>
      <ul>
        {statuses.map((status) => {
          const { className, style } = appearance(status);
          const count = counts?.get(status) ?? 0;
          return (
            <li key={status}>
              <button
                type="button"
                className={`status-row ${className}`}
                style={style}
                aria-pressed={filter.statuses.includes(status)}
                title={t("filterByStatus")}
                onClick={() => onFilter(toggleStatus(filter, status))}
              >
                <bdi className="status-name">{statusLabel(status, t)}</bdi>
                <span className="status-bar">
                  <span style={{ transform: `translateX(${(count / max - 1) * 100}%)` }} />
                </span>
                <span className="status-count" data-count={status}>
                  {counts === null ? "–" : format.count(count)}
                </span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
