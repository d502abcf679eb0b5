import type { SeriesResponse } from "../../api.ts";
import { mainCurrency, useFormat } from "../../format.ts";
import { useTranslate } from "../../i18n.ts";
import { sumOver } from "../../state/sums.ts";
import { useDashboard } from "../use-dashboard.ts";
import styles from "./SeriesChart.module.css";

/** In units of the drawing, which is stretched to its place. */
const WIDTH = 1000;
const HEIGHT = 300;
const LABELS = 6;

/** A bar for the orders of each column of time, with the hours below. */
export function SeriesChart({ series }: { series: SeriesResponse }) {
  const t = useTranslate();
  const format = useFormat();
  const cancelled = useDashboard((snapshot) => snapshot.meta.cancelled);
  const sums = series.buckets.map(({ statuses }) => sumOver(statuses, cancelled, mainCurrency));
  const max = Math.max(1, ...sums.map(({ orders }) => orders));
  const step = WIDTH / Math.max(1, sums.length);
  const total = sums.reduce((sum, { orders }) => sum + orders, 0);
  const labelled = series.buckets.filter((_, index) => index % Math.ceil(series.buckets.length / LABELS) === 0);
  return (
    <figure className={styles.chart}>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={t("wall.chartLabel", { orders: format.count(total) })}>
        {sums.map(({ orders }, index) => {
          const height = (orders / max) * HEIGHT;
          return <rect key={series.buckets[index]?.from} x={index * step + step * 0.1} y={HEIGHT - height} width={step * 0.8} height={height} />;
        })}
      </svg>
      <figcaption aria-hidden="true">
        {labelled.map(({ from }) => (
          <span key={from}>{format.clock(Date.parse(from))}</span>
        ))}
      </figcaption>
    </figure>
  );
}
