import uPlot from "uplot";
import type { Format } from "../format.ts";
import type { Translate } from "../i18n.ts";
import type { SeriesView } from "../state/series.ts";
import { columnTime, revenueText } from "./column-text.ts";

/** In rem: labels of the time axis need so much room. */
const LABEL_WIDTH = 5;

/** The chart's appearance. `series` returns what it shows at the moment. */
export function plotOptions(
  element: HTMLElement,
  t: Translate,
  format: Format,
  series: () => SeriesView,
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
  const { timeZone, period } = series();
  const clock = (at: number) => format.clockIn(at * 1000, timeZone, period === "7d");
  // From 0 to 12 % above the highest value: a column that touches the top looks cut off.
  const rangeFromZero = (minTop: number) => (_: uPlot, __: number, max: number): uPlot.Range.MinMax => [0, Math.max(minTop, max * 1.12)];
  return {
    padding: [rem * 0.5, 0, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, y: false, points: { size: 8, width: 2 } },
    scales: {
      x: { time: true, range: (_, first, last) => [first - (last - first) / 120, last + (last - first) / 120] },
      money: { range: rangeFromZero(10) },
      orders: { range: rangeFromZero(3) },
    },
    axes: [
      // Whole columns: uPlot's own splits are round times of this browser's time zone.
      { ...axis, splits: (u) => everyNth(u, rem), values: (_, splits) => splits.map(clock), size: 1.75 * rem },
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
    plugins: [tooltip(t, format, series)],
  };
}

/** The starts of so many columns that their labels have room. */
function everyNth(u: uPlot, rem: number): number[] {
  const starts = u.data[0];
  const step = Math.max(1, Math.ceil((starts.length * LABEL_WIDTH * 1.4 * rem) / Math.max(1, u.over.clientWidth || u.width)));
  return [...starts].filter((_, index) => index % step === 0);
}

function verticalGradient(u: uPlot, from: string, to: string): CanvasGradient {
  const gradient = u.ctx.createLinearGradient(0, u.bbox.top, 0, u.bbox.top + u.bbox.height);
  gradient.addColorStop(0, from);
  gradient.addColorStop(1, to);
  return gradient;
}

/** A tooltip beside the chosen column with its exact values. */
function tooltip(t: Translate, format: Format, series: () => SeriesView): uPlot.Plugin {
  const box = document.createElement("div");
  box.className = "tooltip";
  return {
    hooks: {
      init: (u) => u.over.append(box),
      setCursor: (u) => {
        const column = series().columns[u.cursor.idx ?? -1];
        box.hidden = column === undefined;
        if (column === undefined) return;
        box.replaceChildren(
          tooltipLine("tooltip-time", columnTime(column, series(), format)),
          tooltipLine("legend-revenue", `${t("revenue")} ${revenueText(column, format)}`),
          tooltipLine("legend-orders", `${t("orders")} ${format.count(column.orders)}`),
        );
        const left = u.valToPos(column.from / 1000, "x");
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
