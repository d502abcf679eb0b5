import { useState } from "react";
import { useWords } from "../words.ts";
import { EventLine } from "./EventLine.tsx";
import { Journal } from "./Journal.tsx";
import { useView } from "./use-live.ts";

type Tab = "live" | "journal";

/** What happened: as it happens, or page by page out of the journal. */
export function Events() {
  const words = useWords();
  const [tab, setTab] = useState<Tab>("live");
  const tabs: Tab[] = ["live", "journal"];
  return (
    <section className="panel events" aria-labelledby="events-title">
      <header>
        <h2 id="events-title">{words.events}</h2>
        <div className="segments" role="tablist" aria-labelledby="events-title">
          {tabs.map((name) => (
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
                const other = tab === "live" ? "journal" : "live";
                setTab(other);
                document.getElementById(`tab-${other}`)?.focus();
              }}
            >
              {words[name]}
            </button>
          ))}
        </div>
      </header>
      <div role="tabpanel" id="events-panel" aria-labelledby={`tab-${tab}`} className="events-panel">
        {tab === "live" ? <LiveEvents /> : <Journal />}
      </div>
    </section>
  );
}

const MOST_SHOWN = 40;

function LiveEvents() {
  const words = useWords();
  const events = useView((view) => view.events);
  if (events.length === 0) return <p className="empty">{words.noEvents}</p>;
  return (
    <ol className="event-list" tabIndex={0} aria-labelledby="events-title">
      {events.slice(0, MOST_SHOWN).map((event) => (
        <EventLine key={event.id} event={event} />
      ))}
    </ol>
  );
}
