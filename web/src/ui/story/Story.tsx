import { useEffect } from "react";
import { useFormat } from "../../format.ts";
import { useTranslate } from "../../i18n.ts";
import { viewHref } from "../../route.ts";
import { listStatuses } from "../../state/order-summary.ts";
import type { StoryColumn } from "../../state/story.ts";
import { statusLabel } from "../../status.ts";
import { EventItem } from "../EventItem.tsx";
import { Link } from "../Link.tsx";
import { useStatusAppearance, useTexts } from "../use-texts.ts";
import { useDashboard } from "../use-dashboard.ts";
import { SPEEDS, useStory, type StoryState } from "./use-story.ts";
import styles from "./Story.module.css";

const MAX_STREAM = 30;
/** From one end of the slider to the other, by the arrow keys. */
const SLIDER_STEPS = 500;

/** Plays the journal like a film: the orders in the columns of their statuses, and the events as they happened. */
export default function StoryView() {
  const t = useTranslate();
  const texts = useTexts();
  const state = useStory();
  const listed = useDashboard((snapshot) => snapshot.meta.statuses);
  const { story, error, end, loading, time } = state;
  useEffect(() => {
    document.title = t("story.title");
  }, [t]);
  const present = new Map(story.columns([]).map(({ status, orders }) => [status, orders]));
  const columns = story.columns(listStatuses(listed, present));
  return (
    <main className={styles.story}>
      <header className={styles.head}>
        <h1>{t("story.heading")}</h1>
        <Link href={viewHref("list")}>{t("wall.leave")}</Link>
      </header>
      <Controls state={state} />
      <p role="status" className={styles.note}>
        {end === "journal" ? t("story.end") : end === "limit" ? t("story.limit") : loading && time === undefined ? t("loading") : ""}
      </p>
      {error !== null && (
        <p className="error" role="alert">
          {error === "gone" ? t("logGone") : t("logFailed")}{" "}
          <button type="button" onClick={() => state.start(undefined)}>
            {t("retry")}
          </button>
        </p>
      )}
      <div className={styles.columns}>
        {columns.map((column) => (
          <Column key={column.status} column={column} />
        ))}
      </div>
      <section className={`panel ${styles.stream}`} aria-labelledby="story-events">
        <header>
          <h2 id="story-events">{t("events")}</h2>
        </header>
        <ol className="event-list" tabIndex={0} aria-labelledby="story-events">
          {story.latest(MAX_STREAM).map((event) => (
            <EventItem key={event.id} event={event} texts={texts} />
          ))}
        </ol>
      </section>
    </main>
  );
}

function Controls({ state }: { state: StoryState }) {
  const t = useTranslate();
  const format = useFormat();
  const { story, time, playing, speed, end } = state;
  const range = story.range;
  const step = range === undefined ? 1 : Math.max(1, Math.round((range.to - range.from) / SLIDER_STEPS));
  const shown = time === undefined ? "–" : format.dateTime(new Date(time).toISOString());
  return (
    <div className={styles.controls}>
      <button type="button" className="primary" disabled={range === undefined || end !== null} onClick={() => state.play(!playing)}>
        {playing ? t("story.pause") : t("story.play")}
      </button>
      <fieldset className="segments">
        <legend>{t("story.speed")}</legend>
        {SPEEDS.map((value) => (
          <label key={value}>
            <input type="radio" name="speed" checked={value === speed} onChange={() => state.setSpeed(value)} />
            <span>{value}×</span>
          </label>
        ))}
      </fieldset>
      <span className={styles.time} data-story-time={time}>
        {shown}
      </span>
      <input
        type="range"
        className={styles.slider}
        aria-label={t("story.time")}
        aria-valuetext={shown}
        disabled={range === undefined}
        min={range?.from ?? 0}
        max={range === undefined ? 1 : range.from + Math.ceil((range.to - range.from) / step) * step}
        step={step}
        value={time ?? 0}
        onChange={(event) => state.seek(Number(event.target.value))}
      />
      <label className={styles.start}>
        {t("story.start")}
        <input
          type="datetime-local"
          onChange={({ target: { valueAsNumber, value } }) => {
            if (!Number.isNaN(valueAsNumber)) state.start(new Date(value).getTime());
          }}
        />
      </label>
      <button type="button" className="secondary" onClick={() => state.start(undefined)}>
        {t("story.fromBeginning")}
      </button>
    </div>
  );
}

function Column({ column }: { column: StoryColumn }) {
  const t = useTranslate();
  const format = useFormat();
  const { className, style } = useStatusAppearance()(column.status);
  return (
    <section className={`panel ${styles.column} ${className}`} style={style} data-status={column.status}>
      <h2>
        {statusLabel(column.status, t)} <b>{format.count(column.orders)}</b>
      </h2>
      <p>{column.revenue.map(([currency, amount]) => format.money(amount, currency || null)).join(" · ") || "–"}</p>
      <ul>
        {column.newest.map((order) => (
          <li key={order.key}>
            <span>{order.number}</span> {format.money(order.total, order.currency)}
          </li>
        ))}
      </ul>
    </section>
  );
}
