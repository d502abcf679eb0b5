import { useState } from "react";
import { useTranslate } from "../i18n.ts";
import { EventItem } from "./EventItem.tsx";
import { EventLog } from "./EventLog.tsx";
import { RowSlots } from "./row-slots.ts";
import { useDashboard } from "./use-dashboard.ts";
import { useTexts } from "./use-texts.ts";

type Tab = "live" | "log";

const MAX_LIVE_EVENTS = 40;

/** Two tabs: live events, and pages of the journal. */
export function EventsPanel() {
  const t = useTranslate();
  const [tab, setTab] = useState<Tab>("live");
  const labels: Record<Tab, string> = { live: t("liveEvents"), log: t("eventLog") };
  return (
    <section className="panel events" aria-labelledby="events-title">
      <header>
        <h2 id="events-title">{t("events")}</h2>
        <div className="segments" role="tablist" aria-labelledby="events-title">
          {(Object.keys(labels) as Tab[]).map((name) => (
            <button
              key={name}
              type="button"
              role="tab"
              id={`tab-${name}`}
              aria-selected={tab === name}
              aria-controls="events-panel"
              tabIndex={tab === name ? 0 : -1}
              onClick={() => setTab(name)}
              onKeyDown={(event) => {
                if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
                const other = tab === "live" ? "log" : "live";
                setTab(other);
                document.getElementById(`tab-${other}`)?.focus();
              }}
            >
              {labels[name]}
            </button>
          ))}
        </div>
      </header>
      <div role="tabpanel" id="events-panel" aria-labelledby={`tab-${tab}`} className="events-panel">
        {tab === "live" ? <LiveEvents /> : <EventLog />}
      </div>
    </section>
  );
}

function LiveEvents() {
  const t = useTranslate();
  const texts = useTexts();
  const [slots] = useState(() => new RowSlots());
  const events = useDashboard((snapshot) => snapshot.events);
  if (events.length === 0) return <p className="empty">{t("noEvents")}</p>;
  const shown = events.slice(0, MAX_LIVE_EVENTS);
  const keys = slots.assign(shown.map(({ id }) => id));
  return (
    <ol className="event-list" tabIndex={0} aria-labelledby="events-title">
      {shown.map((event, place) => (
        <EventItem key={keys[place]} event={event} texts={texts} />
      ))}
    </ol>
  );
}
