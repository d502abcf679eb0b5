import { useEffect, useRef, useState, type CSSProperties } from "react";
import type { SumsByStatus } from "../../api.ts";
import { mainCurrency, useFormat } from "../../format.ts";
import { useTranslate } from "../../i18n.ts";
import { viewHref } from "../../route.ts";
import { countsOf, growth, sumOver, type RevenueSum } from "../../state/sums.ts";
import { ConnectionIndicator } from "../ConnectionIndicator.tsx";
import { Link } from "../Link.tsx";
import { useConnectionStatus } from "../use-connection-status.ts";
import { useDashboard } from "../use-dashboard.ts";
import { useNow } from "../use-now.ts";
import { useSeries } from "../use-series.ts";
import { NewestOrders } from "./NewestOrders.tsx";
import { SeriesChart } from "./SeriesChart.tsx";
import { StatusCounts } from "./StatusCounts.tsx";
import { useWakeLock } from "./use-wake-lock.ts";
import { useWallFormat } from "./wall-format.ts";
import styles from "./Wall.module.css";

const NO_SUMS: SumsByStatus = {};

/** A view for a screen on a wall: large numbers of today, and the newest orders. It needs no user, also for days. */
export default function Wall() {
  const t = useTranslate();
  const format = useFormat();
  const { wholeMoney } = useWallFormat();
  const status = useConnectionStatus();
  const seesOrders = useDashboard((snapshot) => snapshot.access) === "everything";
  const totals = useDashboard((snapshot) => snapshot.totals);
  const cancelled = useDashboard((snapshot) => snapshot.meta.cancelled);
  const { series, failed } = useSeries("24h");
  useWakeLock();
  useEffect(() => {
    document.title = t("wall.title");
  }, [t]);

  const sum = (sums: SumsByStatus) => sumOver(sums, cancelled, mainCurrency);
  const compare = series?.compare;
  const today = compare && sum(compare.today);
  const feed = status.state !== "online" ? "offline" : status.live ? "live" : "stopped";
  return (
    <main className={styles.wall} data-feed={feed}>
      <header className={styles.head}>
        <h1>{t("wall.today")}</h1>
        <Clock timeZone={series?.time_zone} />
        <ConnectionIndicator />
        <FullScreenButton />
        <Link href={viewHref("list")} className={styles.button}>
          {t("wall.leave")}
        </Link>
        {failed && series === null && <p role="alert">{t("wall.failed")}</p>}
      </header>
      <div className={styles.numbers}>
        <BigNumber label={t("totalRevenue")} name="revenue" text={today ? wholeMoney(today.revenue) : null}>
          {today && <Comparison {...revenues(today, sum(compare.yesterday), sum(compare.last_week))} />}
        </BigNumber>
        <BigNumber label={t("totalOrders")} name="orders" text={today ? format.count(today.orders) : null}>
          {today && <Comparison today={today.orders} yesterday={sum(compare.yesterday).orders} lastWeek={sum(compare.last_week).orders} />}
        </BigNumber>
        <BigNumber label={t("wall.pending")} name="pending" text={totals && format.count(totals.pending_orders)} />
        <div className={styles.statuses}>
          <StatusCounts counts={countsOf(compare?.today ?? NO_SUMS)} />
        </div>
        {series !== null && <SeriesChart series={series} />}
      </div>
      {seesOrders && <NewestOrders />}
    </main>
  );
}

function revenues(today: RevenueSum, yesterday: RevenueSum, lastWeek: RevenueSum) {
  // As numbers: a percentage needs no exact cents.
  return { today: Number(today.revenue), yesterday: Number(yesterday.revenue), lastWeek: Number(lastWeek.revenue) };
}

interface BigNumberProps {
  label: string;
  name: string;
  /** Null while it is not known. */
  text: string | null;
  children?: React.ReactNode;
}

/** As large as its place allows: the style sheet divides the width by the number of characters. */
function BigNumber({ label, name, text, children }: BigNumberProps) {
  return (
    <div className={styles.number} style={{ "--characters": Math.max(3, text?.length ?? 3) } as CSSProperties}>
      <h2>{label}</h2>
      <p className={styles.value} data-wall={name}>
        {text ?? "–"}
      </p>
      {children}
    </div>
  );
}

/** How today compares with yesterday and with the same day a week ago, both until this time of day. */
function Comparison({ today, yesterday, lastWeek }: { today: number; yesterday: number; lastWeek: number }) {
  const t = useTranslate();
  return (
    <p className={styles.comparison}>
      <Difference ratio={growth(today, yesterday)} label={t("wall.yesterday")} />
      <Difference ratio={growth(today, lastWeek)} label={t("wall.lastWeek")} />
    </p>
  );
}

function Difference({ ratio, label }: { ratio: number | null; label: string }) {
  const format = useFormat();
  const text = ratio === null ? "–" : `${ratio > 0 ? "▲" : ratio < 0 ? "▼" : "="} ${format.percent(Math.abs(ratio))}`;
  return (
    <span>
      <b>{text}</b> {label}
    </span>
  );
}

/** In the shop's time zone: the day of the numbers begins by it. */
function Clock({ timeZone }: { timeZone: string | undefined }) {
  const { dayAndClock } = useWallFormat();
  const now = useNow(1_000);
  return (
    <time className={styles.clock} dateTime={new Date(now).toISOString()}>
      {dayAndClock(now, timeZone)}
    </time>
  );
}

function FullScreenButton() {
  const t = useTranslate();
  const [isFull, setIsFull] = useState(document.fullscreenElement !== null);
  const failed = useRef(false);
  useEffect(() => {
    const update = () => setIsFull(document.fullscreenElement !== null);
    document.addEventListener("fullscreenchange", update);
    return () => document.removeEventListener("fullscreenchange", update);
  }, []);
  if (!document.fullscreenEnabled || failed.current) return null;
  const toggle = () => (isFull ? document.exitFullscreen() : document.documentElement.requestFullscreen());
  return (
    <button type="button" className={styles.button} aria-pressed={isFull} onClick={() => void toggle().catch(() => (failed.current = true))}>
      {t("wall.fullScreen")}
    </button>
  );
}
