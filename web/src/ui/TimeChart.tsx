import { useCallback, useEffect, useLayoutEffect, useMemo, useRef } from "react";
import uPlot from "uplot";
import { mainCurrency, useFormat, type Format } from "../format.ts";
import { useTranslate, type Translate } from "../i18n.ts";
import { PERIODS, type Period } from "../periods.ts";
import { setPreferences, usePreferences } from "../preferences.ts";
import type { Order } from "../state/order-list.ts";
import { timeSeries, type TimeSeries } from "../state/order-summary.ts";
import { useDashboard, useDashboardStore } from "./use-dashboard.ts";
import { useMediaQuery } from "./use-media-query.ts";
import { useOrderSummary } from "./use-order-summary.ts";

export function TimeChart() {
  const t = useTranslate();
  const format = useFormat();
  const { period } = usePreferences();
  const store = useDashboardStore();
  const meta = useDashboard((snapshot) => snapshot.meta);
  const cancelled = useMemo(() => new Set(meta.cancelled), [meta]);
  const { length, step } = PERIODS[period];
  const data = useOrderSummary(
    useCallback((orders: readonly Order[], now: number) => timeSeries(orders, period, now, cancelled, mainCurrency), [period, cancelled]),
    useCallback((now: number) => Math.floor(now / step), [step]),
  );
  const start = Date.now() - length;
  // Orders without a time of creation, whose number is NaN, come last.
  const { oldest } = store.orders;
  const complete = store.orders.isComplete || (oldest !== undefined && !(oldest.createdMs > start));
  useEffect(() => {
    if (!complete) void store.loadOlderOrders();
  }, [store, complete, data]);

  const revenues: [string, string][] = [[mainCurrency, data.revenueTotal], ...data.otherRevenue];
  const revenue = revenues.map(([currency, amount]) => format.money(amount, currency)).join(" · ");
  return (
    <section className="panel chart" aria-labelledby="chart-title">
      <header>
        <h2 id="chart-title">{t("ordersOverTime")}</h2>
        <p className="legend">
          <span className="legend-orders">{t("orders")} <b data-period="orders">{format.count(data.ordersTotal)}</b></span>
          <span className="legend-revenue">{t("revenue")} <b data-period="revenue">{revenue}</b></span>
          {!complete && store.orders.next === undefined && <span>{t("onlyLoadedOrders")}</span>}
        </p>
        <fieldset className="segments">
          <legend>{t("period")}</legend>
          {(Object.keys(PERIODS) as Period[]).map((name) => (
            <label key={name}>
              <input type="radio" name="period" checked={name === period} onChange={() => setPreferences({ period: name })} />
              <span>{t(`periods.${name}`)}</span>
            </label>
          ))}
        </fieldset>
      </header>
      <Plot
        data={data}
        period={period}
        label={t("chartLabel", { orders: format.count(data.ordersTotal), revenue, period: t(`forPeriod.${period}`) })}
        t={t}
        format={format}
      />
    </section>
  );
}

interface PlotProps {
  data: TimeSeries;
  period: Period;
  label: string;
  t: Translate;
  format: Format;
}

function Plot({ data, period, label, t, format }: PlotProps) {
  const container = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const latestData = useRef(data);
  latestData.current = data;
  const { theme } = usePreferences();
  const systemDark = useMediaQuery("(prefers-color-scheme: dark)");

  useLayoutEffect(() => {
    const element = container.current as HTMLDivElement;
    const size = () => ({ width: element.clientWidth, height: element.clientHeight });
    const created = new uPlot(
      { ...size(), ...plotOptions(element, PERIODS[period].step / 1000, t, format, () => latestData.current) },
      alignedData(latestData.current),
      element,
    );
    plot.current = created;
    const observer = new ResizeObserver(() => created.setSize(size()));
    observer.observe(element);
    return () => {
      observer.disconnect();
      created.destroy();
      plot.current = null;
    };
  }, [period, t, format, theme, systemDark]);

  useEffect(() => plot.current?.setData(alignedData(data)), [data]);

  return <div className="plot" ref={container} role="img" aria-label={label} />;
}

function alignedData(data: TimeSeries): uPlot.AlignedData {
  return [data.times, data.orders, data.revenue.map(Number)]; // exact cents are not visible in the chart
}

function plotOptions(
  element: HTMLElement,
  step: number,
  t: Translate,
  format: Format,
  data: () => TimeSeries,
): Omit<uPlot.Options, "width" | "height"> {
  const style = getComputedStyle(element);
  // A canvas needs a computed colour, while the value of the variable is an unresolved light-dark().
  const computedColor = (name: string) => {
    element.style.color = `var(${name})`;
    const computed = style.color;
    element.style.color = "";
    return computed;
  };
  const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  const font = `${Math.round(0.75 * rem)}px ${style.fontFamily}`; // whole pixels, since uPlot multiplies them by the device's pixel ratio
  const axis = { font, stroke: computedColor("--text-muted"), ticks: { show: false }, grid: { show: false } };
  const clock = (at: number) => format.clock(at * 1000);
  // From 0 to 12 % above the highest value: a column that touches the top looks cut off.
  const rangeFromZero = (minTop: number) => (_: uPlot, __: number, max: number): uPlot.Range.MinMax => [0, Math.max(minTop, max * 1.12)];
  return {
    padding: [rem * 0.5, 0, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, y: false, points: { size: 8, width: 2 } },
    scales: {
      x: { time: true, range: (_, first, last) => [first - step / 2, last + step / 2] },
      money: { range: rangeFromZero(10) },
      orders: { range: rangeFromZero(3) },
    },
    axes: [
      { ...axis, values: (_, splits) => splits.map(clock), space: 5 * rem, size: 1.75 * rem },
      {
        ...axis,
        scale: "money",
        grid: { stroke: computedColor("--border"), width: 1 },
        values: (_, splits) => splits.map(format.shortMoney),
        size: 4.5 * rem,
        space: 2.5 * rem,
      },
      { ...axis, scale: "orders", side: 1, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 1e5], size: 2.5 * rem, space: 2.5 * rem },
    ],
    series: [
      {},
      {
        scale: "orders",
        label: t("orders"),
        fill: computedColor("--chart-bar"),
        width: 0,
        paths: uPlot.paths.bars!({ size: [0.6, 40], radius: 0.25 }),
        points: { show: false },
      },
      {
        scale: "money",
        label: t("revenue"),
        stroke: computedColor("--accent"),
        fill: (u) => verticalGradient(u, computedColor("--chart-area-top"), computedColor("--chart-area-bottom")),
        width: 2,
        paths: uPlot.paths.spline!(),
        points: { show: false },
      },
    ],
    plugins: [tooltip(step, t, format, data)],
  };
}

function verticalGradient(u: uPlot, from: string, to: string): CanvasGradient {
  const gradient = u.ctx.createLinearGradient(0, u.bbox.top, 0, u.bbox.top + u.bbox.height);
  gradient.addColorStop(0, from);
  gradient.addColorStop(1, to);
  return gradient;
}

/** A tooltip beside the pointer with the exact values of the column under it. */
function tooltip(step: number, t: Translate, format: Format, data: () => TimeSeries): uPlot.Plugin {
  const box = document.createElement("div");
  box.className = "tooltip";
  return {
    hooks: {
      init: (u) => u.over.append(box),
      setCursor: (u) => {
        const index = u.cursor.idx;
        const { times, revenue, orders } = data();
        const time = times[index ?? -1];
        box.hidden = time === undefined;
        if (time === undefined || index == null) return;
        const at = time * 1000;
        box.replaceChildren(
          tooltipLine("tooltip-time", `${format.clock(at)}–${format.clock(at + step * 1000)}`),
          tooltipLine("legend-revenue", `${t("revenue")} ${format.money(revenue[index] as string)}`),
          tooltipLine("legend-orders", `${t("orders")} ${format.count(orders[index] as number)}`),
        );
        const left = u.valToPos(time, "x");
        box.style.transform = `translateX(${left > u.over.clientWidth / 2 ? left - box.offsetWidth - 12 : left + 12}px)`;
      },
    },
  };
}

function tooltipLine(className: string, text: string): HTMLElement {
  const element = document.createElement("div");
  element.className = className;
  element.textContent = text;
  return element;
}
