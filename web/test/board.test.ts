import { beforeEach, expect, test } from "vitest";
import { Board, MAX_CARDS, newestFirst, withChanges } from "../src/state/board.ts";
import { toOrder } from "../src/state/order-list.ts";
import { created, deleted, moved, row } from "./fake-feed.ts";

let board: Board;

const at = (key: number) => ({ created_at: new Date(key * 1000).toISOString() });
const cards = (status: string) => board.column(status).cards.map(({ key }) => Number(key));

beforeEach(() => {
  board = new Board();
  board.startFetch()([
    { status: "pending", rows: [row(3, at(3)), row(1, at(1))], isComplete: true },
    { status: "ready", rows: [row(2, { status: "ready", ...at(2) })], isComplete: true },
  ]);
});

test("has a column for each status, newest first", () => {
  expect([cards("pending"), cards("ready"), cards("delivered")]).toEqual([[3, 1], [2], []]);
  expect(board.column("pending")).toMatchObject({ count: 2, isComplete: true });
});

test("moves cards by events, each once", () => {
  expect(board.apply(moved(3, 5, "pending", "ready"))).toBe("changed");
  expect([cards("pending"), cards("ready")]).toEqual([[1], [3, 2]]);
  expect(board.apply(moved(3, 4, "x", "pending"))).toBe("none"); // older: replayed
  expect(cards("ready")).toEqual([3, 2]);
  board.apply(moved(3, 6, "ready", "delivered")); // a status without a column
  expect(cards("ready")).toEqual([2]);
  board.apply(deleted(2, 7));
  expect([cards("ready"), board.column("ready").count]).toEqual([[], 0]);
});

test("a new order is new once, and only in a column that is shown", () => {
  expect(board.apply(created(9, 10, at(9)))).toBe("new");
  expect(board.apply(created(9, 10, at(9)))).toBe("none");
  expect(board.apply(created(8, 11, { status: "delivered" }))).toBe("changed");
  expect(board.apply(created(1, 12, at(1)))).toBe("new"); // the fetch was faster than the event
  expect(board.apply(created(1, 12, at(1)))).toBe("none");
  expect(cards("pending")).toEqual([9, 3, 1]);
});

test("an order that enters a column is taken from the list, else it has to be completed", () => {
  expect(board.apply(moved(20, 10, "delivered", "ready"), toOrder(row(20, { status: "delivered", customer_name: "Anna", ...at(20) }), 0))).toBe("changed");
  expect(board.get("20")).toMatchObject({ customer: "Anna", status: "ready" });
  expect(board.apply(moved(21, 11, "delivered", "ready"))).toBe("incomplete");
  board.complete(row(21, { status: "ready", customer_name: "Eva" }), "e-1-10"); // of an earlier event
  expect(board.get("21")?.customer).toBeNull();
  board.complete(row(21, { status: "ready", customer_name: "Eva" }), "e-1-11");
  expect(board.get("21")?.customer).toBe("Eva");
});

test("events during a fetch are applied to what it brings", () => {
  const replace = board.startFetch();
  board.apply(moved(3, 5, "pending", "ready"));
  board.apply(created(4, 6, at(4)));
  expect(replace([{ status: "pending", rows: [row(3, at(3))], isComplete: true }, { status: "ready", rows: [], isComplete: true }])).toBe(0);
  expect([cards("pending"), cards("ready")]).toEqual([[4], [3]]);
});

test("orders that are created during the first fetch are new, whether or not it brings them", () => {
  board = new Board();
  board.startFetch(); // replaced by another one
  expect(board.apply(created(3, 4, at(3)))).toBe("changed");
  const replace = board.startFetch();
  expect(board.apply(created(4, 5, at(4)))).toBe("changed"); // there is no column yet
  board.apply(created(5, 6, at(5)));
  board.apply(created(6, 7, { status: "delivered" }));
  board.apply(created(7, 8, at(7)));
  board.apply(moved(7, 9, "pending", "delivered"));
  expect(replace([{ status: "pending", rows: [row(4, at(4)), row(3, at(3)), row(1, at(1))], isComplete: true }])).toBe(3);
  expect(cards("pending")).toEqual([5, 4, 3, 1]);
});

const pending = (...keys: number[]) => ({ status: "pending", rows: keys.map((key) => row(key, at(key))), isComplete: true });
const ready = (...keys: number[]) => ({ status: "ready", rows: keys.map((key) => row(key, { status: "ready", ...at(key) })), isComplete: true });

test("orders whose events were missed are new, but not those of a column that was not shown", () => {
  const delivered = { status: "delivered", rows: [row(10, { status: "delivered", ...at(10) })], isComplete: true };
  const columns = [pending(9, 8, 3, 1, 0), ready(2), delivered]; // 0: older than all that it had
  expect(board.startFetch()(columns)).toBe(2);
  expect(board.apply(created(9, 20, at(9)))).toBe("changed"); // it has been counted
  expect(board.startFetch()(columns)).toBe(0);
});

test("an event between a gap and the answer does not hide the orders that were missed", () => {
  const replace = board.startFetch();
  expect(board.apply(created(10, 20, at(10)))).toBe("new");
  expect(replace([pending(10, 9, 8, 3, 1), ready(2)])).toBe(2);
  board.startFetch(); // fails, and is tried again
  expect(board.apply(created(13, 21, at(13)))).toBe("new");
  expect(board.startFetch()([pending(13, 12, 10, 9, 8, 3, 1), ready(2)])).toBe(1);
  const third = board.startFetch();
  const at20 = new Date(20_000).toISOString(); // of the change; the event does not say when the order was created
  expect(board.apply({ ...moved(0, 22, "delivered", "ready"), at: at20 })).toBe("incomplete");
  expect(third([pending(15, 13, 12, 10, 9, 8, 3, 1), ready(2, 0)])).toBe(1);
});

test("an order that the user knows is not new when it comes back in a gap", () => {
  expect(board.apply(created(9, 10, at(9)))).toBe("new");
  board.apply(moved(9, 11, "pending", "delivered"));
  expect(board.apply(created(8, 12, { status: "delivered", ...at(8) }))).toBe("changed");
  expect(board.startFetch()([pending(9, 3, 1), ready(8, 2)])).toBe(0);
  for (const [key, event] of [[9, 13], [3, 14], [1, 15]] as const) board.apply(moved(key, event, "pending", "delivered"));
  for (const [key, event] of [[8, 16], [2, 17]] as const) board.apply(moved(key, event, "ready", "delivered"));
  expect(board.startFetch()([pending(2), ready()])).toBe(0);
});

test("an order that a fetch has counted is not new when its event comes, whatever was fetched meanwhile", () => {
  expect(board.startFetch()([pending(9, 3, 1), ready(2)])).toBe(1);
  expect(board.startFetch()([pending(9, 3, 1), ready(2)])).toBe(0);
  expect(board.apply(created(9, 20, at(9)))).toBe("changed");
  expect(board.startFetch()([pending(11, 9, 3, 1), ready(2)])).toBe(1);
  expect(board.startFetch()([pending(9, 3, 1), ready(2)])).toBe(0);
  expect(board.apply(created(11, 21, at(11)))).not.toBe("new");
});

test("an answer is ignored if a later fetch was started", () => {
  const first = board.startFetch();
  board.startFetch();
  expect(first([])).toBeNull();
  expect(cards("pending")).toEqual([3, 1]);
});

test("shows the newest 200 of a column, and replaces those that leave it", () => {
  const rows = Array.from({ length: 300 }, (_, index) => row(1000 - index, at(1000 - index)));
  board.startFetch()([{ status: "pending", rows, isComplete: false }]);
  expect(cards("pending")).toHaveLength(MAX_CARDS);
  expect(board.column("pending")).toMatchObject({ count: 300, isComplete: false });
  board.apply(moved(1000, 5, "pending", "ready"));
  expect(cards("pending").at(0)).toBe(999);
  expect(cards("pending")).toHaveLength(MAX_CARDS);
});

test("20,000 new orders do not make a column grow without bound", () => {
  for (let key = 10; key < 20_010; key++) board.apply(created(key, key, at(key)));
  expect(board.column("pending").count).toBeLessThanOrEqual(2_000);
  expect(board.column("pending").isComplete).toBe(false);
  expect(cards("pending").at(0)).toBe(20_009);
});

test("a column is the same object until it changes", () => {
  const before = [board.column("pending"), board.column("ready")];
  board.apply({ ...created(2, 5), status: "ready", type: "order_update", customer_name: "Anna" });
  expect(board.column("pending")).toBe(before[0]);
  expect(board.column("ready")).not.toBe(before[1]);
});

test("changes of the user that have no event yet move cards", () => {
  const [order] = board.column("pending").cards;
  const changed = { ...(order as NonNullable<typeof order>), status: "ready" };
  const pending = withChanges("pending", board.column("pending"), [changed]);
  const ready = withChanges("ready", board.column("ready"), [changed]);
  expect([pending.cards.map(({ key }) => key), pending.count]).toEqual([["1"], 1]);
  expect([ready.cards.map(({ key }) => key), ready.count]).toEqual([["3", "2"], 2]);
  expect(withChanges("ready", board.column("ready"), [])).toBe(board.column("ready"));
});

test("orders without a time are the oldest", () => {
  const orders = [toOrder(row(1, { created_at: null }), 0), toOrder(row(2, at(2)), 0), toOrder(row(3, { created_at: null }), 0)];
  expect(orders.sort(newestFirst).map(({ key }) => key)).toEqual(["2", "3", "1"]);
});
