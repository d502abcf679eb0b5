import { useTranslate } from "../../i18n.ts";
import { countsOf } from "../../state/sums.ts";
import { FeedFrame } from "../FeedFrame.tsx";
import { Header } from "../Header.tsx";
import { Totals } from "../Totals.tsx";
import { useSeries } from "../use-series.ts";
import { SeriesChart } from "../wall/SeriesChart.tsx";
import { StatusCounts } from "../wall/StatusCounts.tsx";
import styles from "./Visitor.module.css";

/** What a viewer sees: sums only. */
export default function ViewerPage() {
  const t = useTranslate();
  const { series, failed } = useSeries("24h");
  return (
    <>
      <Header />
      <FeedFrame />
      <main className={styles.viewer}>
        <Totals />
        {failed && series === null && (
          <p className="error" role="alert">
            {t("wall.failed")}
          </p>
        )}
        {series !== null && (
          <>
            <section className="panel" aria-labelledby="by-status">
              <header>
                <h2 id="by-status">{t("byStatus")}</h2>
              </header>
              <div className={styles.inner}>
                <StatusCounts counts={countsOf(series.statuses)} />
              </div>
            </section>
            <section className={`panel ${styles.chart}`} aria-labelledby="last-day">
              <header>
                <h2 id="last-day">{t("visitor.lastDay")}</h2>
              </header>
              <div className={styles.inner}>
                <SeriesChart series={series} />
              </div>
            </section>
          </>
        )}
      </main>
    </>
  );
}
