import { act, renderHook, waitFor } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import { useStory } from "../../src/ui/story/use-story.ts";
import { created, moved } from "../fake-feed.ts";
import { answer } from "./render-fixed.tsx";

const SECOND = 1_000;
const START = Date.parse("2026-01-02T03:00:00Z");
const at = (seconds: number): string => new Date(START + seconds * SECOND).toISOString();
const EVENTS = [created(1, 1, { at: at(0) }), moved(1, 2, "pending", "ready", { at: at(60) })];
const WHOLE = { events: EVENTS, next: "e-1-2", more: false };

const statuses = (story: ReturnType<typeof useStory>) =>
  Object.fromEntries(story.story.columns([]).map(({ status, orders }) => [status, orders]).filter(([, orders]) => orders !== 0));

test("begins with the first event, plays to the end of the journal, and stops there", async () => {
  answer(WHOLE);
  const { result } = renderHook(() => useStory());
  await waitFor(() => expect(result.current.time).toBe(START));
  expect([statuses(result.current), result.current.end]).toEqual([{ pending: 1 }, null]);
  vi.useFakeTimers();
  act(() => {
    result.current.setSpeed(60);
    result.current.play(true);
  });
  act(() => void vi.advanceTimersByTime(600));
  expect(statuses(result.current)).toEqual({ pending: 1 }); // 36 s of the story
  act(() => void vi.advanceTimersByTime(600));
  expect([statuses(result.current), result.current.end, result.current.playing]).toEqual([{ ready: 1 }, "journal", false]);
  act(() => result.current.seek(START));
  expect(statuses(result.current)).toEqual({ pending: 1 });
});

test("goes on with the next page before it is needed", async () => {
  const requested = answer({ events: EVENTS.slice(0, 1), next: "e-1-1", more: true }, { ...WHOLE, events: EVENTS.slice(1) });
  const { result } = renderHook(() => useStory());
  await waitFor(() => expect(result.current.story.events).toHaveLength(2));
  expect(requested[1]).toContain("after=e-1-1");
});

test("starts with the last order before a chosen time, and takes no answer to an earlier start", async () => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  const requested: string[] = [];
  vi.stubGlobal("fetch", async (path: string) => {
    requested.push(path);
    if (requested.length === 1) {
      await held;
      return Response.json({ events: [created(9, 9)], next: "e-1-9", more: false });
    }
    if (path.includes("/events?after")) return Response.json(WHOLE);
    return Response.json(path.includes("/orders/1/") ? { events: EVENTS.toReversed() } : { orders: [{ key: "1" }], next: null });
  });
  const { result } = renderHook(() => useStory());
  await waitFor(() => expect(requested).toHaveLength(1));
  act(() => result.current.start(START + 30 * SECOND));
  await waitFor(() => expect(result.current.story.events).toHaveLength(2));
  release();
  await act(async () => held);
  expect(result.current.story.events.map(({ key }) => key)).toEqual(["1", "1"]);
  expect(result.current.time).toBe(START + 30 * SECOND);
  expect(requested.at(-1)).toContain(`after=${EVENTS[0]?.id}`);
});

test.each([
  [410, "gone"],
  [503, "failed"],
] as const)("says that the journal cannot be read: %i", async (status, error) => {
  answer(status);
  const { result } = renderHook(() => useStory());
  await waitFor(() => expect(result.current.error).toBe(error));
  expect([result.current.end, result.current.loading]).toEqual([null, false]);
});
