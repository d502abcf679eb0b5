import { useCallback, useEffect, useRef, useState } from "react";
import { Story } from "../../state/story.ts";
import { cursorBefore, isGone, loadPage } from "./load-story.ts";

export const SPEEDS = [1, 10, 60, 600] as const;
export type Speed = (typeof SPEEDS)[number];

const TICK_MS = 100;
/** The next page is requested when fewer events than this are left to play. */
const MIN_UNPLAYED = 2_000;
/** What fits into the memory of a phone. */
const MAX_EVENTS = 100_000;

export interface StoryState {
  readonly story: Story;
  /** The time that is shown, in milliseconds; undefined until the first event is loaded. */
  readonly time: number | undefined;
  readonly playing: boolean;
  readonly speed: Speed;
  readonly loading: boolean;
  readonly error: "gone" | "failed" | null;
  /** "journal": it has no further events. "limit": more than the page keeps. Null: it goes on. */
  readonly end: "journal" | "limit" | null;
  play: (playing: boolean) => void;
  setSpeed: (speed: Speed) => void;
  seek: (time: number) => void;
  /** Begins anew, shortly before a time in milliseconds; undefined: with the journal. */
  start: (time: number | undefined) => void;
}

/** Loads the journal as far as it is needed, and plays it. */
export function useStory(): StoryState {
  const story = useRef(new Story());
  /** Of the page to come; undefined: the beginning of the journal. */
  const cursor = useRef<string | undefined>(undefined);
  const more = useRef(true);
  const isLoading = useRef(false);
  const generation = useRef(0);
  const [time, setTime] = useState<number | undefined>(undefined);
  const [playing, play] = useState(false);
  const [speed, setSpeed] = useState<Speed>(60);
  const [error, setError] = useState<StoryState["error"]>(null);
  /** Changes when the refs have. */
  const [, setLoaded] = useState(0);

  const load = useCallback(async () => {
    if (isLoading.current || !more.current || story.current.events.length >= MAX_EVENTS) return;
    const started = generation.current;
    isLoading.current = true;
    setLoaded((count) => count + 1);
    try {
      const page = await loadPage(cursor.current);
      if (started !== generation.current) return;
      story.current.append(page.events);
      cursor.current = page.next;
      more.current = page.more;
      setTime((shown) => shown ?? story.current.range?.from);
    } catch (failure) {
      if (started !== generation.current) return;
      more.current = false;
      setError(isGone(failure) ? "gone" : "failed");
    } finally {
      if (started === generation.current) isLoading.current = false;
      setLoaded((count) => count + 1);
    }
  }, []);

  const start = useCallback(
    (from: number | undefined) => {
      const started = ++generation.current;
      story.current = new Story();
      cursor.current = undefined;
      more.current = true;
      isLoading.current = true;
      play(false);
      setTime(undefined);
      setError(null);
      const found = from === undefined ? Promise.resolve(undefined) : cursorBefore(from).catch(() => undefined);
      void found.then((before) => {
        if (started !== generation.current) return;
        cursor.current = before;
        isLoading.current = false;
        if (from !== undefined) setTime(from);
        void load();
      });
    },
    [load],
  );
  useEffect(() => start(undefined), [start]);

  if (time !== undefined) story.current.seek(time); // the same again for the same time
  useEffect(() => {
    if (story.current.unplayed < MIN_UNPLAYED) void load();
  });

  useEffect(() => {
    if (!playing) return;
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      const elapsed = (now - last) * speed;
      last = now;
      setTime((shown) => {
        const range = story.current.range;
        if (shown === undefined || range === undefined) return shown;
        // While the page that follows is loading, the story waits for it.
        return Math.min(shown + elapsed, Math.max(shown, range.to));
      });
    }, TICK_MS);
    return () => clearInterval(timer);
  }, [playing, speed]);

  const { isAtEnd, events } = story.current;
  const end = !more.current && error === null && isAtEnd ? "journal" : isAtEnd && events.length >= MAX_EVENTS ? "limit" : null;
  useEffect(() => {
    if (end !== null) play(false);
  }, [end]);
  return { story: story.current, time, playing, speed, loading: isLoading.current, error, end, play, setSpeed, seek: setTime, start };
}
