import { useCallback, useEffect, useRef, useState } from "react";
import { api, ApiError, type EventPage } from "../api.ts";
import { useTranslate } from "../i18n.ts";
import { EventItem } from "./EventItem.tsx";
import { useTexts } from "./use-texts.ts";

const PAGE_SIZE = 50;

/** The start cursors of the current page and of those before it. Undefined: the start of the journal. */
type Cursors = (string | undefined)[];
/** `cursors` are those that were requested. */
type Result = { cursors: Cursors } & ({ page: EventPage; error?: never } | { page?: never; error: "gone" | "failed" });

/** Pages of the journal, oldest event first. */
export function EventLog() {
  const t = useTranslate();
  const texts = useTexts();
  const [cursors, setCursors] = useState<Cursors>([undefined]);
  const [result, setResult] = useState<Result | null>(null);
  const requestCount = useRef(0);
  const list = useRef<HTMLOListElement>(null);

  const load = useCallback(async () => {
    const request = ++requestCount.current;
    const loaded = await loadFullPage(cursors.at(-1)).then(
      (page): Result => ({ cursors, page }),
      (error: unknown): Result => ({ cursors, error: error instanceof ApiError && error.status === 410 ? "gone" : "failed" }),
    );
    if (request === requestCount.current) setResult(loaded); // otherwise another page has been requested meanwhile
  }, [cursors]);
  useEffect(() => {
    void load();
    list.current?.scrollTo(0, 0);
  }, [load]);

  // While a page is loading, the previous one stays visible, with its own number, and the button for the next page is disabled.
  const page = result?.page;
  const isLoaded = result?.cursors === cursors;
  return (
    <>
      {result?.error && (
        <p className="error" role="alert">
          {result.error === "gone" ? t("logGone") : t("logFailed")}{" "}
          <button type="button" onClick={() => (result.error === "gone" ? setCursors([undefined]) : void load())}>
            {result.error === "gone" ? t("toFirstPage") : t("retry")}
          </button>
        </p>
      )}
      {page === undefined && result === null && <p className="empty">{t("loading")}</p>}
      {page !== undefined && (
        <ol className="event-list" tabIndex={0} aria-labelledby="events-title" ref={list}>
          {page.events.map((event) => (
            <EventItem key={event.id} event={event} texts={texts} />
          ))}
          {!page.more && <li className="log-end">{t("endOfLog")}</li>}
        </ol>
      )}
      <nav className="pager" aria-label={t("eventLog")}>
        <button type="button" disabled={cursors.length === 1} onClick={() => setCursors([undefined])}>
          {t("toFirstPage")}
        </button>
        <span role="status">{t("pageNumber", { n: (result?.cursors ?? cursors).length })}</span>
        <button type="button" disabled={cursors.length === 1} onClick={() => setCursors(cursors.slice(0, -1))}>
          {t("previousPage")}
        </button>
        <button type="button" disabled={!isLoaded || !page?.more} onClick={() => page && setCursors([...cursors, page.next])}>
          {t("nextPage")}
        </button>
      </nav>
    </>
  );
}

/** The server may return a short page although there are more events. Requests more until the page is full or the journal ends. */
async function loadFullPage(start: string | undefined): Promise<EventPage> {
  let page = await api.events(start, PAGE_SIZE);
  while (page.more && page.events.length < PAGE_SIZE) {
    const rest = await api.events(page.next, PAGE_SIZE - page.events.length);
    page = { ...rest, events: [...page.events, ...rest.events] };
  }
  return page;
}
