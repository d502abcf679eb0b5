import { useFormat } from "../../format.ts";
import { useTranslate } from "../../i18n.ts";
import { listStatuses } from "../../state/order-summary.ts";
import { statusLabel } from "../../status.ts";
import { useStatusAppearance } from "../use-texts.ts";
import { useDashboard } from "../use-dashboard.ts";
import styles from "./StatusCounts.module.css";

/** The number of orders of each status, in the order of the table's map, each with its colour. */
export function StatusCounts({ counts }: { counts: ReadonlyMap<string, number> }) {
  const t = useTranslate();
  const format = useFormat();
  const listed = useDashboard((snapshot) => snapshot.meta.statuses);
  const appearance = useStatusAppearance();
  return (
    <dl className={styles.counts}>
      {listStatuses(listed, counts).map((status) => {
        const { className, style } = appearance(status);
        return (
          <div key={status} className={className} style={style} data-status={status}>
            <dt>{statusLabel(status, t)}</dt>
            <dd>{format.count(counts.get(status) ?? 0)}</dd>
          </div>
        );
      })}
    </dl>
  );
}
