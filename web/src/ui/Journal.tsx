import { useCallback, useEffect, useRef, useState } from "react";
import { api, ApiError, type EventPage } from "../api.ts";
import { useWords } from "../words.ts";
import { EventLine } from "./EventLine.tsx";

const PAGE_EVENTS = 50;

type Starts = (string | undefined)[];
/** `of`: which page that is. */
type State = { of: Starts } & ({ page: EventPage; trouble?: never } | { page?: never; trouble: "gone" | "failed" });

/** The journal, oldest first, in pages. */
export function Journal() {
  const words = useWords();
  /** Where the page that is shown begins, and before it where the earlier ones began. */
  const [starts, setStarts] = useState<Starts>([undefined]);
  const [state, setState] = useState<State | null>(null);
  const wanted = useRef(0);
  const list = useRef<HTMLOListElement>(null);

  const load = useCallback(async () => {
    const number = ++wanted.current;
    const result = await fullPage(starts.at(-1)).then(
      (page): State => ({ of: starts, page }),
      (error: unknown): State => ({ of: starts, trouble: error instanceof ApiError && error.status === 410 ? "gone" : "failed" }),
    );
    if (number === wanted.current) setState(result); // else somebody has paged on meanwhile
  }, [starts]);
  useEffect(() => {
    void load();
    list.current?.scrollTo(0, 0);
  }, [load]);

  // While another page is on its way the one before is shown, by its own number, and nobody can page on from it.
  const page = state?.page;
  const arrived = state?.of === starts;
  return (
    <>
      {state?.trouble && (
        <p className="trouble" role="alert">
          {state.trouble === "gone" ? words.journalGone : words.journalFailed}{" "}
          <button type="button" onClick={() => (state.trouble === "gone" ? setStarts([undefined]) : void load())}>
            {state.trouble === "gone" ? words.fromStart : words.again}
          </button>
        </p>
      )}
      {page === undefined && state === null && <p className="empty">{words.loading}</p>}
      {page !== undefined && (
        <ol className="event-list" tabIndex={0} aria-labelledby="events-title" ref={list}>
          {page.events.map((event) => (
            <EventLine key={event.id} event={event} />
          ))}
          {!page.more && <li className="journal-end">{words.journalEnd}</li>}
        </ol>
      )}
      <nav className="pager" aria-label={words.journal}>
        <button type="button" disabled={starts.length === 1} onClick={() => setStarts([undefined])}>
          {words.fromStart}
        </button>
        <span role="status">{words.page((state?.of ?? starts).length)}</span>
        <button type="button" disabled={starts.length === 1} onClick={() => setStarts(starts.slice(0, -1))}>
          {words.previous}
        </button>
        <button type="button" disabled={!arrived || !page?.more} onClick={() => page && setStarts([...starts, page.next])}>
          {words.next}
        </button>
      </nav>
    </>
  );
}

/** A page of the server may end early, where an earlier one began to read; a page here is full, or the last one. */
async function fullPage(start: string | undefined): Promise<EventPage> {
  let page = await api.events(start, PAGE_EVENTS);
  while (page.more && page.events.length < PAGE_EVENTS) {
    const rest = await api.events(page.next, PAGE_EVENTS - page.events.length);
    page = { ...rest, events: [...page.events, ...rest.events] };
  }
  return page;
}
