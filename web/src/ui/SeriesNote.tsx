import { useTranslate, type MessageKey } from "../i18n.ts";
import { useDashboard } from "./use-dashboard.ts";

/** Says that the charts are not exact, and why; nothing while they are. */
export function SeriesNote() {
  const t = useTranslate();
  const problem = useDashboard((snapshot) => snapshot.seriesProblem);
  const complete = useDashboard((snapshot) => snapshot.series?.complete ?? true);
  const texts: Record<string, MessageKey> = { counting: "seriesCounting", failed: "seriesFailed" };
  const key = problem === null ? (complete ? null : "seriesInexact") : texts[problem];
  if (key == null) return null;
  return (
    <p className="inexact" data-inexact={problem ?? "stale"}>
      <span aria-hidden="true">≈ </span>
      {t(key)}
    </p>
  );
}
