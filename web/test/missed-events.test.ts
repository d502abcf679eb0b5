import { expect, test } from "vitest";
import { onMissedEvents } from "../src/state/missed-events.ts";
import { FakeFeed } from "./fake-feed.ts";

test("fetches anew after a gap, and after a connect that does not resume or finds nothing", () => {
  const feed = new FakeFeed();
  let [isMissing, fetches] = [false, 0];
  const stop = onMissedEvents(feed.service, () => isMissing, () => fetches++);
  feed.emit("gap");
  expect(fetches).toBe(1);
  feed.emit("connect"); // without a cursor
  expect(fetches).toBe(2);
  feed.lastEventId = "e-1-1";
  feed.emit("connect");
  expect(fetches).toBe(2);
  isMissing = true;
  feed.emit("connect");
  expect(fetches).toBe(3);
  stop();
  expect(feed.listeners).toBe(0);
});
