import { expect, test } from "vitest";
import { BoardStore } from "../src/state/board-store.ts";
import type { DashboardStore } from "../src/state/dashboard-store.ts";
import { created, deferred, FakeFeed, row } from "./fake-feed.ts";

test("says each new order once, one that comes while the columns are fetched for the first time when they are there", async () => {
  const feed = new FakeFeed();
  const answer = deferred<{ orders: ReturnType<typeof row>[]; next: null }>();
  const api = { ordersWithStatus: () => answer.promise };
  let said = 0;
  const source = { service: feed.service, api, orders: { get: () => undefined } } as unknown as DashboardStore;
  const store = new BoardStore(source, () => said++);
  store.start();
  store.show(["pending"]);
  feed.emit("message", created(1, 1)); // the answer will have it
  feed.emit("message", created(2, 2));
  feed.emit("message", created(3, 3, { status: "delivered" }));
  expect(said).toBe(0);
  answer.resolve({ orders: [row(1)], next: null });
  await expect.poll(() => store.getSnapshot().state).toBe("ready");
  expect(store.board.column("pending").cards.map(({ key }) => key)).toEqual(["2", "1"]);
  expect(said).toBe(2);
  feed.emit("message", created(4, 4));
  feed.emit("message", created(5, 5, { status: "delivered" }));
  expect(said).toBe(3);
});
