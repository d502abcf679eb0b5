import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent } from "react";
import uPlot from "uplot";
import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import { usePreferences } from "../preferences.ts";
import type { SeriesView } from "../state/series.ts";
import { columnTime, revenueText } from "./column-text.ts";
import { plotOptions } from "./plot-options.ts";
import { useMediaQuery } from "./use-media-query.ts";
import "uplot/dist/uPlot.min.css";

/** Drawing the canvas takes as long as the rest of the page; its numbers, beside it and in the tooltip, are always the present ones. */
const MIN_DRAW_INTERVAL_MS = 500;

/** The canvas, and the column that the pointer or the arrow keys have chosen. */
export default function Plot({ series, label }: { series: SeriesView; label: string }) {
  const t = useTranslate();
  const format = useFormat();
  const container = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const latest = useRef(series);
  latest.current = series;
  /** Start of the column that the keys have chosen, in milliseconds: another column may be at its place a moment later. */
  const [chosen, setChosen] = useState<number | null>(null);
  const { theme } = usePreferences();
  const systemDark = useMediaQuery("(prefers-color-scheme: dark)");
  const { period, timeZone, columns } = series;

  useLayoutEffect(() => {
    const element = container.current as HTMLDivElement;
    const size = () => ({ width: element.clientWidth, height: element.clientHeight });
    const options = plotOptions(element, t, format, () => latest.current);
    const created = new uPlot({ ...size(), ...options }, alignedData(latest.current), element);
    plot.current = created;
    const observer = new ResizeObserver(() => created.setSize(size()));
    observer.observe(element);
    return () => {
      observer.disconnect();
      created.destroy();
      plot.current = null;
    };
  }, [period, timeZone, t, format, theme, systemDark]);

  const drawnAt = useRef(-Infinity);
  useEffect(() => {
    const draw = () => {
      drawnAt.current = performance.now();
      plot.current?.setData(alignedData(latest.current));
    };
    const timer = setTimeout(draw, Math.max(0, drawnAt.current + MIN_DRAW_INTERVAL_MS - performance.now()));
    return () => clearTimeout(timer);
  }, [columns]);

  const index = columns.findIndex(({ from }) => from === chosen);
  useEffect(() => {
    if (index >= 0) moveCursor(plot.current, index);
  }, [index, columns]);

  const onKeyDown = (event: KeyboardEvent) => {
    const last = columns.length - 1;
    const start = index < 0 ? last + 1 : index;
    const targets: Record<string, number> = { ArrowLeft: start - 1, ArrowRight: start + 1, Home: 0, End: last };
    const target = targets[event.key];
    if (event.key === "Escape") setChosen(null);
    if (target === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault(); // the page must not scroll
    setChosen(columns[Math.min(last, Math.max(0, target))]?.from ?? null);
  };

  const column = columns[index];
  return (
    <>
      <div className="plot" ref={container} role="img" aria-label={label} aria-describedby="chart-keys" tabIndex={0} onKeyDown={onKeyDown} />
      <p id="chart-keys" className="visually-hidden">
        {t("chartKeys")}
      </p>
      <p role="status" className="visually-hidden" data-column={index < 0 ? undefined : index}>
        {column && t("chartColumn", { time: columnTime(column, series, format), orders: format.count(column.orders), revenue: revenueText(column, format) })}
      </p>
    </>
  );
}

function moveCursor(plot: uPlot | null, index: number): void {
  const time = plot?.data[0][index];
  if (plot && time !== undefined) plot.setCursor({ left: plot.valToPos(time, "x"), top: 0 });
}

/** uPlot takes seconds. Exact cents are not visible in the chart. */
function alignedData({ columns }: SeriesView): uPlot.AlignedData {
  return [columns.map(({ from }) => from / 1000), columns.map(({ orders }) => orders), columns.map(({ revenue }) => Number(revenue))];
}
