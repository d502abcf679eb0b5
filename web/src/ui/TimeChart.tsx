import { useCallback, useEffect, useLayoutEffect, useRef } from "react";
import uPlot from "uplot";
import { useFormat, type Format } from "../format.ts";
import { prefer, usePreferences } from "../preferences.ts";
import type { Order } from "../state/order-book.ts";
import { PERIODS, series, type Period, type Series } from "../state/summary.ts";
import { useWords, type Words } from "../words.ts";
import { useLive } from "./use-live.ts";
import { useMedia } from "./use-media.ts";
import { useSummary } from "./use-summary.ts";

export function TimeChart() {
  const words = useWords();
  const format = useFormat();
  const { period } = usePreferences();
  const live = useLive();
  const { length, step } = PERIODS[period];
  const data = useSummary(
    useCallback((orders: readonly Order[], now: number) => series(orders, period, now), [period]),
    useCallback((now: number) => Math.floor(now / step), [step]),
  );
  const start = Date.now() - length;
  const complete = live.book.reachesBack || (live.book.oldest?.createdAt ?? Infinity) <= start;
  useEffect(() => {
    if (!complete) void live.loadOlder();
  }, [live, complete, data]);

  const revenue = format.money(data.revenueTotal);
  return (
    <section className="panel chart" aria-labelledby="chart-title">
      <header>
        <h2 id="chart-title">{words.overTime}</h2>
        <p className="key">
          <span className="key-orders">{words.orders} <b data-period="orders">{format.count(data.ordersTotal)}</b></span>
          <span className="key-revenue">{words.revenue} <b data-period="revenue">{revenue}</b></span>
          {!complete && live.book.isFull && <span>{words.onlyLoaded}</span>}
        </p>
        <fieldset className="segments">
          <legend>{words.period}</legend>
          {(Object.keys(PERIODS) as Period[]).map((name) => (
            <label key={name}>
              <input type="radio" name="period" checked={name === period} onChange={() => prefer({ period: name })} />
              <span>{words.periods[name]}</span>
            </label>
          ))}
        </fieldset>
      </header>
      <Plot
        data={data}
        period={period}
        label={words.chartSays(format.count(data.ordersTotal), revenue, words.forPeriod[period])}
        words={words}
        format={format}
      />
    </section>
  );
}

interface PlotProps {
  data: Series;
  period: Period;
  label: string;
  words: Words;
  format: Format;
}

function Plot({ data, period, label, words, format }: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const newest = useRef(data);
  newest.current = data;
  const { theme } = usePreferences();
  const systemDark = useMedia("(prefers-color-scheme: dark)");

  useLayoutEffect(() => {
    const element = box.current as HTMLDivElement;
    const size = () => ({ width: element.clientWidth, height: element.clientHeight });
    const made = new uPlot(
      { ...size(), ...options(element, PERIODS[period].step / 1000, words, format, () => newest.current) },
      columns(newest.current),
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize(size()));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [period, words, format, theme, systemDark]);

  useEffect(() => plot.current?.setData(columns(data)), [data]);

  return <div className="plot" ref={box} role="img" aria-label={label} />;
}

function columns(data: Series): uPlot.AlignedData {
  return [data.times, data.orders, data.revenue.map(Number)]; // what is drawn needs no cents
}

function options(
  element: HTMLElement,
  step: number,
  words: Words,
  format: Format,
  data: () => Series,
): Omit<uPlot.Options, "width" | "height"> {
  const style = getComputedStyle(element);
  // As a colour of an element the browser works it out; the variable itself is a text that depends on the theme.
  const colour = (name: string) => {
    element.style.color = `var(${name})`;
    const found = style.color;
    element.style.color = "";
    return found;
  };
  const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  const font = `${Math.round(0.75 * rem)}px ${style.fontFamily}`; // whole pixels: it scales them itself
  const axis = { font, stroke: colour("--ink-soft"), ticks: { show: false }, grid: { show: false } };
  const clock = (at: number) => format.clock(at * 1000);
  // From zero, with some air: a column that touches the ceiling looks cut off.
  const fromZero = (least: number) => (_: uPlot, __: number, most: number): uPlot.Range.MinMax => [0, Math.max(least, most * 1.12)];
  return {
    padding: [rem * 0.5, 0, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, y: false, points: { size: 8, width: 2 } },
    scales: {
      x: { time: true, range: (_, first, last) => [first - step / 2, last + step / 2] },
      money: { range: fromZero(10) },
      orders: { range: fromZero(3) },
    },
    axes: [
      { ...axis, values: (_, splits) => splits.map(clock), space: 5 * rem, size: 1.75 * rem },
      {
        ...axis,
        scale: "money",
        grid: { stroke: colour("--line"), width: 1 },
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
        label: words.orders,
        fill: colour("--bar"),
        width: 0,
        paths: uPlot.paths.bars!({ size: [0.6, 40], radius: 0.25 }),
        points: { show: false },
      },
      {
        scale: "money",
        label: words.revenue,
        stroke: colour("--accent"),
        fill: (u) => fade(u, colour("--accent-fade"), colour("--accent-gone")),
        width: 2,
        paths: uPlot.paths.spline!(),
        points: { show: false },
      },
    ],
    plugins: [tip(step, words, format, data)],
  };
}

function fade(u: uPlot, from: string, to: string): CanvasGradient {
  const gradient = u.ctx.createLinearGradient(0, u.bbox.top, 0, u.bbox.top + u.bbox.height);
  gradient.addColorStop(0, from);
  gradient.addColorStop(1, to);
  return gradient;
}

/** Beside the pointer: what the column under it says, exactly as far as a column is exact. */
function tip(step: number, words: Words, format: Format, data: () => Series): uPlot.Plugin {
  const box = document.createElement("div");
  box.className = "tip";
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
          line("tip-time", `${format.clock(at)}–${format.clock(at + step * 1000)}`),
          line("key-revenue", `${words.revenue} ${format.money(revenue[index] as string)}`),
          line("key-orders", `${words.orders} ${format.count(orders[index] as number)}`),
        );
        const left = u.valToPos(time, "x");
        box.style.transform = `translateX(${left > u.over.clientWidth / 2 ? left - box.offsetWidth - 12 : left + 12}px)`;
      },
    },
  };
}

function line(name: string, text: string): HTMLElement {
  const element = document.createElement("div");
  element.className = name;
  element.textContent = text;
  return element;
}
