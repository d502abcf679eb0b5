import { Suspense, useEffect } from "react";
import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import { PERIODS } from "../periods.ts";
import { setPreferences, usePreferences } from "../preferences.ts";
import { revenueText } from "./column-text.ts";
import { lazyComponent } from "./lazy-component.tsx";
import { PanelBoundary } from "./PanelBoundary.tsx";
import { SeriesNote } from "./SeriesNote.tsx";
import { useDashboard, useDashboardStore } from "./use-dashboard.ts";

/** It comes with the library that draws it, a fifth of the page: the numbers do not wait for that. */
const Plot = lazyComponent(() => import("./Plot.tsx").then((module) => module.default));

/** Orders and revenue of the whole table by the time at which the orders were made. */
export function TimeChart() {
  const t = useTranslate();
  const format = useFormat();
  const { period } = usePreferences();
  const store = useDashboardStore();
  const series = useDashboard((snapshot) => snapshot.series);
  useEffect(() => store.showPeriod(period), [store, period]);

  const orders = series === null ? "–" : format.count(series.whole.orders);
  const revenue = series === null ? "–" : revenueText(series.whole, format);
  return (
    <section className="panel chart" aria-labelledby="chart-title">
      <header>
        <h2 id="chart-title">{t("ordersOverTime")}</h2>
        <p className="legend">
          <span className="legend-orders">
            {t("orders")} <b data-period="orders">{orders}</b>
          </span>
          <span className="legend-revenue">
            {t("revenue")} <b data-period="revenue">{revenue}</b>
          </span>
        </p>
        <SeriesNote />
        <fieldset className="segments">
          <legend>{t("period")}</legend>
          {PERIODS.map((name) => (
            <label key={name}>
              <input type="radio" name="period" checked={name === period} onChange={() => setPreferences({ period: name })} />
              <span>{t(`periods.${name}`)}</span>
            </label>
          ))}
        </fieldset>
      </header>
      {series !== null && (
        <PanelBoundary className="plot">
          <Suspense fallback={<div className="plot" />}>
            <Plot series={series} label={t("chartLabel", { orders, revenue, period: t(`forPeriod.${series.period}`) })} />
          </Suspense>
        </PanelBoundary>
      )}
    </section>
  );
}
