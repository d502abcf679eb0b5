import type { OrderEvent } from "@orderwire/client";
import { expect, test } from "vitest";
import { Story } from "../src/state/story.ts";

const START = Date.parse("2026-01-02T03:00:00Z");
let sequence = 0;

function event(second: number, key: string, fields: object): OrderEvent {
  const at = new Date(START + second * 1000).toISOString();
  return { id: `e-1-${++sequence}`, order_id: Number(key), key, order_number: `N${key}`, at, ...fields } as OrderEvent;
}

function created(second: number, key: string, total = "1.50"): OrderEvent {
  return event(second, key, { type: "new_order", customer_name: "Anna", total, status: "new" });
}

function moved(second: number, key: string, status: string): OrderEvent {
  return event(second, key, { type: "order_status_update", previous_status: "new", status, total: "1.50" });
}

function evening(): Story {
  const story = new Story();
  story.append([created(0, "1"), created(10, "2", "0.10"), moved(20, "1", "done"), event(30, "2", { type: "order_delete" })]);
  story.append([moved(40, "9", "done")]);
  return story;
}

function at(story: Story, second: number): Record<string, [number, string[]]> {
  story.seek(START + second * 1000);
  return Object.fromEntries(story.columns(["new", "done"]).map(({ status, orders, newest }) => [status, [orders, newest.map(({ key }) => key)]]));
}

test("has the orders as they were at a time", () => {
  const story = evening();
  expect(story.range).toEqual({ from: START, to: START + 40_000 });
  expect(at(story, -1)).toEqual({ new: [0, []], done: [0, []] });
  expect(at(story, 15)).toEqual({ new: [2, ["2", "1"]], done: [0, []] });
  expect(story.latest(10).map(({ key }) => key)).toEqual(["2", "1"]);
  expect(at(story, 25)).toEqual({ new: [1, ["2"]], done: [1, ["1"]] });
  expect(at(story, 30)).toEqual({ new: [0, []], done: [1, ["1"]] });
  expect(story.isAtEnd).toBe(false);
  // An order that is older than the story is part of it from its first event on.
  expect(at(story, 99)).toEqual({ new: [0, []], done: [2, ["9", "1"]] });
  expect(story.isAtEnd).toBe(true);
});

test("goes back, with the same result as on the way forward", () => {
  const story = evening();
  const forward = [5, 15, 25, 35, 45].map((second) => JSON.stringify(at(story, second)));
  expect([45, 35, 25, 15, 5].map((second) => JSON.stringify(at(story, second)))).toEqual(forward.reverse());
});

test("adds money exactly, each currency apart", () => {
  const story = new Story();
  story.append([created(0, "1", "0.10"), created(0, "2", "0.20"), event(0, "3", { ...created(0, "3", "5"), currency: "EUR" })]);
  story.seek(START);
  expect(story.columns(["new"])[0]?.revenue).toEqual([["", "0.30"], ["EUR", "5"]]);
});

test("a status that the map does not list has a column of its own", () => {
  const story = new Story();
  story.append([moved(0, "1", "lost")]);
  story.seek(START);
  expect(story.columns(["new"]).map(({ status }) => status)).toEqual(["new", "lost"]);
});
