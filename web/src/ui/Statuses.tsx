import { useCallback } from "react";
import { useFormat } from "../format.ts";
import { countByStatus, STATUSES } from "../state/summary.ts";
import { useWords } from "../words.ts";
import type { Filter } from "./Dashboard.tsx";
import { useLive } from "./use-live.ts";
import { useSummary } from "./use-summary.ts";

const ALWAYS = () => 0;

/** Orders by status: a chart to look at, and the filter of the table. */
export function Statuses({ filter, onFilter }: { filter: Filter; onFilter: (filter: Filter) => void }) {
  const words = useWords();
  const format = useFormat();
  const live = useLive();
  const counts = useSummary(useCallback(countByStatus, []), ALWAYS);
  const all = STATUSES.reduce((sum, status) => sum + counts[status], 0);
  const most = Math.max(1, ...STATUSES.map((status) => counts[status]));
  return (
    <section className="panel statuses" aria-labelledby="statuses-title">
      <header>
        <h2 id="statuses-title">{words.byStatus}</h2>
        <p>{live.book.reachesBack ? words.allOrders : words.latestOrders(all)}</p>
      </header>
      <ul>
        {STATUSES.map((status) => (
          <li key={status}>
            <button
              type="button"
              className={`status-row ${status}`}
              aria-pressed={filter.status === status}
              title={words.onlyThese}
              onClick={() => onFilter({ ...filter, status: filter.status === status ? null : status })}
            >
              <span className="status-name">{words.status[status]}</span>
              <span className="status-bar">
                <span style={{ transform: `translateX(${(counts[status] / most - 1) * 100}%)` }} />
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
