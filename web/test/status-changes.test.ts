import { beforeEach, expect, test, vi } from "vitest";
import { ApiError, type StatusPatch } from "../src/api.ts";
import type { Notice } from "../src/state/status-change.ts";
import { StatusChanges } from "../src/state/status-changes.ts";
import { deferred, deleted, FakeFeed, moved, row } from "./fake-feed.ts";

interface PatchRequest {
  key: string;
  patch: StatusPatch;
  answer: (id?: string | null) => Promise<void>;
  fail: (error: unknown) => Promise<void>;
}

const ORDER = { key: "1", number: "N1", status: "pending" };
const ACTOR = { role: "serving", application_name: "dashboard: Bo" };

let feed: FakeFeed;
let changes: StatusChanges;
let requests: PatchRequest[];
/** What the server has of an order, or the error with which it answers. */
let present: string | ApiError;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  feed = new FakeFeed();
  requests = [];
  present = "pending";
  changes = new StatusChanges(feed.service, {
    order: async (key) => {
      if (present instanceof ApiError) throw present;
      return row(Number(key), { status: present });
    },
    changeStatus: (key, patch) => {
      const { promise, resolve, reject } = deferred<{ id: string | null; order: ReturnType<typeof row> }>();
      const answer = (id: string | null = `e-1-${100 + requests.length}`) => (resolve({ id, order: row(Number(key)) }), settled());
      requests.push({ key, patch, answer, fail: (error) => (reject(error), settled()) });
      return promise;
    },
  });
});

async function settled(ms = 0): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

function state(key = "1"): string | undefined {
  return changes.getSnapshot().changes.get(key)?.state;
}

function notice(): Notice {
  return changes.getSnapshot().notices.at(-1) as Notice;
}

const kinds = () => notice().outcomes.map(({ kind }) => kind);

async function change(to = "ready"): Promise<void> {
  void changes.change([ORDER], to);
  await settled();
}

test("a change is shown at once, and sent with the status that the user saw", async () => {
  await change();
  expect(changes.getSnapshot().changes.get("1")).toMatchObject({ from: "pending", to: "ready", state: "sent" });
  expect(requests.map(({ key, patch }) => [key, patch])).toEqual([["1", { status: "ready", from: "pending" }]]);
});

test("after the answer it counts as changed until its event comes", async () => {
  await change();
  await requests[0]?.answer("e-1-7");
  expect(state()).toBe("changed");
  changes.apply(moved(1, 6, "x", "pending")); // an older event, replayed
  await settled();
  expect(state()).toBe("changed");
  changes.apply(moved(1, 7, "pending", "ready"));
  await settled();
  expect(state()).toBeUndefined();
  expect(kinds()).toEqual(["changed"]);
});

test("the event may come before the answer", async () => {
  await change();
  changes.apply(moved(1, 7, "pending", "ready"));
  await settled();
  expect(state()).toBeUndefined();
  expect(kinds()).toEqual([]);
  await requests[0]?.answer("e-1-7");
  expect(state()).toBeUndefined();
  expect(notice()).toMatchObject({ canUndo: true, outcomes: [{ kind: "changed", id: "e-1-7" }] });
});

test("a change that another one preceded is taken back, and says who was faster", async () => {
  await change();
  await requests[0]?.fail(new ApiError(409, { code: "conflict", status: "confirmed", actor: ACTOR }));
  expect(state()).toBeUndefined();
  expect(notice()).toMatchObject({ canUndo: false, outcomes: [{ kind: "faster", status: "confirmed", actor: ACTOR }] });
});

test.each([
  [new ApiError(403, { message: "no", reason: "transition" }), { kind: "refused", reason: "transition", message: "no" }],
  [new ApiError(404), { kind: "gone" }],
])("a refusal takes the change back: %s", async (error, outcome) => {
  await change();
  await requests[0]?.fail(error);
  expect(state()).toBeUndefined();
  expect(notice().outcomes).toEqual([outcome]);
});

test("a problem stays until it is dismissed, a success for five seconds", async () => {
  await change();
  await requests[0]?.fail(new ApiError(404));
  await settled(60_000);
  expect(kinds()).toEqual(["gone"]);
  changes.dismiss(notice().key);
  await settled();
  await change();
  await requests[1]?.answer();
  await settled(4_999);
  expect(notice().canUndo).toBe(true);
  await settled(1);
  expect(changes.getSnapshot().notices).toEqual([]);
});

test("undo names the event that it reverses, and cannot be undone itself", async () => {
  await change();
  await requests[0]?.answer("e-1-7");
  void changes.undo(notice().key);
  await settled();
  expect(requests[1]?.patch).toEqual({ status: "pending", from: "ready", undo: "e-1-7" });
  expect(changes.getSnapshot().changes.get("1")).toMatchObject({ to: "pending", state: "sent" });
  await requests[1]?.answer("e-1-8");
  expect(notice()).toMatchObject({ isUndo: true, canUndo: false });
  changes.apply(moved(1, 7, "pending", "ready"));
  await settled();
  expect(state()).toBe("changed"); // the event of the first change must not show the order as ready again
  changes.apply(moved(1, 8, "ready", "pending"));
  await settled();
  expect(state()).toBeUndefined();
});

test("what the server takes back no more is changed like every other order, if the map allows it", async () => {
  await change();
  await requests[0]?.answer("e-1-7");
  void changes.undo(notice().key);
  await settled();
  await requests[1]?.fail(new ApiError(403, { reason: "undo" }));
  expect(requests[2]?.patch).toEqual({ status: "pending", from: "ready" });
  await requests[2]?.fail(new ApiError(403, { reason: "transition", message: "no" }));
  expect(notice().outcomes).toEqual([{ kind: "refused", reason: "transition", message: "no" }]);
});

test("undo after five seconds does nothing", async () => {
  await change();
  await requests[0]?.answer();
  const { key } = notice();
  await settled(5_000);
  await changes.undo(key);
  expect(requests).toHaveLength(1);
});

test.each([new TypeError("Failed to fetch"), new DOMException("timeout", "TimeoutError"), new ApiError(502)])(
  "without an answer the outcome is unknown until the event comes: %s",
  async (error) => {
    await change();
    await requests[0]?.fail(error);
    expect(state()).toBe("unknown");
    expect(notice()).toMatchObject({ unknown: 1, outcomes: [] });
    changes.apply(moved(1, 7, "pending", "ready"));
    await settled();
    expect(state()).toBeUndefined();
    expect(notice()).toMatchObject({ unknown: 0, canUndo: true, outcomes: [{ kind: "changed", id: "e-1-7" }] });
  },
);

test("an unknown outcome is found out by a look at the order after the reconnect", async () => {
  await change();
  present = new ApiError(503);
  await requests[0]?.fail(new TypeError("Failed to fetch"));
  await settled(10_000);
  expect(state()).toBe("unknown");
  present = "ready";
  feed.emit("connect");
  await settled();
  expect(notice()).toMatchObject({ canUndo: false, outcomes: [{ kind: "changed", id: null }] });
});

test("an order counts as unchanged at the second look, since the request may still be carried out at the first", async () => {
  await change();
  await requests[0]?.fail(new TypeError("Failed to fetch"));
  feed.emit("connect");
  await settled();
  expect(state()).toBe("unknown");
  await settled(2_000);
  expect(kinds()).toEqual(["unchanged"]);
  expect(state()).toBeUndefined();
});

test("while the outcome is unknown, another change of the order tells it", async () => {
  await change();
  await requests[0]?.fail(new TypeError("Failed to fetch"));
  changes.apply(moved(1, 8, "pending", "cancelled", { actor: ACTOR }));
  await settled();
  expect(notice().outcomes).toEqual([{ kind: "faster", status: "cancelled", actor: ACTOR }]);

  void changes.change([{ ...ORDER, key: "2" }], "ready");
  await settled();
  await requests[1]?.fail(new TypeError("Failed to fetch"));
  changes.apply(moved(2, 9, "ready", "delivering")); // the change itself was in a gap
  await settled();
  expect(kinds()).toEqual(["changed"]);

  void changes.change([{ ...ORDER, key: "3" }], "ready");
  await settled();
  await requests[2]?.fail(new TypeError("Failed to fetch"));
  changes.apply(deleted(3, 10));
  await settled();
  expect(kinds()).toEqual(["gone"]);
});

test("several orders are sent one by one, at most four at a time, and the results are counted", async () => {
  const orders = Array.from({ length: 10 }, (_, index) => ({ key: String(index), number: `N${index}`, status: index === 9 ? "ready" : "pending" }));
  const done = changes.change(orders, "ready");
  await settled();
  expect(changes.getSnapshot().changes.size).toBe(9); // one has the status already
  expect(requests).toHaveLength(4);
  for (let index = 0; index < 9; index++) {
    await (index < 2 ? requests[index]?.fail(new ApiError(409, { status: "cancelled" })) : requests[index]?.answer());
  }
  await done;
  await settled();
  expect(kinds().filter((kind) => kind === "faster")).toHaveLength(2);
  expect(kinds().filter((kind) => kind === "changed")).toHaveLength(7);
  expect(notice().already).toBe(1);
  void changes.undo(notice().key);
  await settled();
  expect(requests.slice(9).every(({ patch }) => patch.undo !== undefined)).toBe(true);
  expect(changes.getSnapshot().notices.at(-1)?.numbers).toHaveLength(7);
});

test("after one unanswered request the rest of the orders is not sent", async () => {
  const orders = Array.from({ length: 8 }, (_, index) => ({ key: String(index), number: `N${index}`, status: "pending" }));
  void changes.change(orders, "ready");
  await settled();
  for (const request of [...requests]) await request.fail(new TypeError("Failed to fetch"));
  expect(requests).toHaveLength(4);
  expect(notice().unknown).toBe(4);
  expect(kinds()).toEqual(["unchanged", "unchanged", "unchanged", "unchanged"]);
});

test("a request above the server's rate is repeated when the server says", async () => {
  await change();
  await requests[0]?.fail(new ApiError(429, {}, 1_000));
  expect(state()).toBe("sent");
  await settled(1_000);
  expect(requests).toHaveLength(2);
  await requests[1]?.answer();
  expect(kinds()).toEqual(["changed"]);
});

test("an order whose change has no outcome yet is left alone", async () => {
  await change();
  await change("cancelled");
  expect(requests).toHaveLength(1);
});

test("after a gap the fetched orders count, and not what was changed before", async () => {
  await change();
  await requests[0]?.answer("e-1-7");
  feed.emit("gap");
  await settled();
  expect(state()).toBeUndefined();
});

test("a change that made no event is shown as the server's orders have it", async () => {
  await change();
  await requests[0]?.answer(null);
  expect(state()).toBeUndefined();
  expect(notice()).toMatchObject({ canUndo: false, outcomes: [{ kind: "changed", id: null }] });
});
