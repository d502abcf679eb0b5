import type { OrderEvent } from "@orderwire/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { OrderPage, OrderRow, OrdersQuery } from "../src/api.ts";
import { EMPTY_FILTER, type OrderFilter } from "../src/state/order-filter.ts";
import { OrderList } from "../src/state/order-list.ts";
import { OrderSearch } from "../src/state/order-search.ts";

const NOW = Date.parse("2026-06-10T10:00:00Z");

interface SearchRequest {
  query: OrdersQuery;
  after: string | undefined;
  signal: AbortSignal | undefined;
  answer: (page: Partial<OrderPage>) => Promise<void>;
  fail: () => Promise<void>;
}

let requests: SearchRequest[];
let orders: OrderList;
let search: OrderSearch;
let filter: OrderFilter;

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
  requests = [];
  orders = new OrderList();
  const api = {
    search: (query: OrdersQuery, after?: string, signal?: AbortSignal) =>
      new Promise<OrderPage>((resolve, reject) => {
        const settled = () => vi.advanceTimersByTimeAsync(0);
        requests.push({
          query,
          after,
          signal,
          answer: async (page) => (resolve({ orders: [], next: null, complete: true, ...page }), void (await settled())),
          fail: async () => (reject(new TypeError("no network")), void (await settled())),
        });
      }),
  };
  search = new OrderSearch(api, orders, () => {});
  // The list has the newest two of many orders.
  orders.startFetch(true)([row("9", "Anna"), row("8", "Bo")], { after: "cursor" });
});
afterEach(() => void vi.useRealTimers());

function row(key: string, customer_name: string, fields: Partial<OrderRow> = {}): OrderRow {
  const day = key.padStart(2, "0");
  return { id: key, key, order_number: `N${key}`, customer_name, total: "5.00", status: "pending", created_at: `2026-06-${day}T00:00:00Z`, ...fields };
}

function base(key: string, sequence: number) {
  return { id: `e-1-0-${sequence}`, order_id: key, key, order_number: `N${key}`, at: "2026-06-10T10:00:00Z", created_at: "2026-06-03T00:00:00Z" };
}

function moved(key: string, sequence: number, previous_status: string, status: string): OrderEvent {
  return { type: "order_status_update", ...base(key, sequence), previous_status, status, total: "5.00" };
}

async function setFilter(fields: Partial<OrderFilter>): Promise<void> {
  filter = { ...EMPTY_FILTER, ...fields };
  search.setFilter(filter);
  await vi.advanceTimersByTimeAsync(150);
}

function apply(event: OrderEvent): void {
  search.apply(event, Date.now());
  orders.apply(event);
}

function keys(): string[] {
  return search.matches(filter, Date.now()).map(({ key }) => key);
}

test("shows the loaded orders at once, and what the server finds behind them", async () => {
  await setFilter({ text: "anna" });
  expect(keys()).toEqual(["9"]);
  expect(search.status).toMatchObject({ state: "searching", complete: false });
  expect(requests.map(({ query }) => query)).toEqual([{ q: "anna" }]);
  await requests[0]?.answer({ orders: [row("9", "Anna"), row("3", "Anna"), row("5", "Joanna")] });
  expect(keys()).toEqual(["9", "5", "3"]);
  expect(search.status).toEqual({ state: "ready", complete: true, more: false, searchedTo: null });
});

test("asks no server while the list has the whole table, or there is no filter", async () => {
  await setFilter({});
  orders.startFetch(true)([row("9", "Anna")], null);
  await setFilter({ text: "anna" });
  expect([keys(), requests.length, search.status.complete]).toEqual([["9"], 0, true]);
});

test("what only the server's rule matches is shown until it changes", async () => {
  await setFilter({ text: "customer-17" });
  await requests[0]?.answer({ orders: [row("3", "Anna"), row("8", "Bo")] });
  expect(keys()).toEqual(["8", "3"]);
  apply({ type: "order_update", ...base("3", 1), customer_name: "Eve", total: "5.00", status: "pending" });
  expect(keys()).toEqual(["8"]);
});

test("an order appears when an event makes it match, and goes when one makes it not", async () => {
  await setFilter({ statuses: ["ready"] });
  await requests[0]?.answer({ orders: [row("3", "Anna", { status: "ready" })] });
  apply(moved("9", 1, "pending", "ready"));
  expect(keys()).toEqual(["9", "3"]);
  apply(moved("3", 2, "ready", "delivering"));
  expect(keys()).toEqual(["9"]);
  apply(moved("3", 3, "delivering", "ready"));
  apply({ type: "order_delete", ...base("9", 4) });
  expect(keys()).toEqual(["3"]);
  apply({ type: "new_order", ...base("10", 5), customer_name: "Zoe", total: "1.00", status: "ready" });
  expect(keys()).toEqual(["10", "3"]);
});

test("searches again, though not at once, when an order that is not loaded may have begun to match", async () => {
  await setFilter({ statuses: ["ready"] });
  await requests[0]?.answer({ orders: [] });
  apply(moved("2", 1, "pending", "delivering"));
  await vi.advanceTimersByTimeAsync(3_000);
  search.tick(Date.now());
  await vi.advanceTimersByTimeAsync(0);
  expect(requests).toHaveLength(1);
  apply(moved("2", 2, "delivering", "ready"));
  apply(moved("1", 3, "delivering", "ready"));
  await vi.advanceTimersByTimeAsync(0);
  expect(requests).toHaveLength(2);
  await requests[1]?.answer({ orders: [row("2", "Old", { status: "ready" }), row("1", "Old", { status: "ready" })] });
  expect(keys()).toEqual(["2", "1"]);
});

test("an event during the request is newer than the row", async () => {
  await setFilter({ statuses: ["ready"] });
  apply(moved("3", 1, "ready", "delivering"));
  await requests[0]?.answer({ orders: [row("3", "Anna", { status: "ready" })] });
  expect(keys()).toEqual([]);
});

test("goes on where the server has stopped at its time limit", async () => {
  await setFilter({ text: "eve" });
  await requests[0]?.answer({ complete: false, next: "back", searched_to: "2026-05-01T00:00:00Z" });
  expect(search.status).toEqual({ state: "ready", complete: false, more: true, searchedTo: "2026-05-01T00:00:00Z" });
  const further = search.loadMore();
  expect(requests[1]?.after).toBe("back");
  await requests[1]?.answer({ orders: [row("3", "Eve")] });
  await further;
  expect([keys(), search.status.complete]).toEqual([["3"], true]);
});

test("the order that the text names exactly comes first, loaded or not, with # and without", async () => {
  orders.startFetch(true)([row("9", "Bo", { order_number: "117" }), row("8", "Bo", { order_number: "#17" })], { after: "cursor" });
  for (const text of ["17", "#17"]) {
    await setFilter({ text });
    expect(keys()).toEqual(["8", "9"]);
    await requests.at(-1)?.answer({ orders: [row("17", "By key", { order_number: "X-17" }), row("3", "Bo", { order_number: "170" })] });
    expect(keys()).toEqual(["17", "8", "9", "3"]);
  }
});

test("adds the next page, once", async () => {
  await setFilter({ text: "eve" });
  await requests[0]?.answer({ orders: [row("5", "Eve")], next: "page 2" });
  expect(search.status).toMatchObject({ complete: false, more: true });
  void search.loadMore();
  void search.loadMore();
  expect(requests).toHaveLength(2);
  await requests[1]?.answer({ orders: [row("4", "Eve")] });
  expect(keys()).toEqual(["5", "4"]);
});

test("ignores the answer for another filter, and repeats a request that failed", async () => {
  await setFilter({ text: "ann" });
  await setFilter({ text: "anna" });
  await requests[0]?.answer({ orders: [row("1", "Ann")] });
  expect(keys()).toEqual(["9"]);
  await requests[1]?.fail();
  expect(search.status.state).toBe("failed");
  await vi.advanceTimersByTimeAsync(3_000);
  await requests[2]?.answer({ orders: [row("2", "Anna")] });
  expect(keys()).toEqual(["9", "2"]);
});

test("ends a request that a newer one replaces, or whose filter is gone, and no other", async () => {
  await setFilter({ text: "ann" });
  await setFilter({ text: "anna" });
  const aborted = () => requests.map(({ signal }) => signal?.aborted);
  expect(aborted()).toEqual([true, false]);
  search.reload();
  await vi.advanceTimersByTimeAsync(0);
  expect(aborted()).toEqual([true, true, false]);
  await requests[2]?.answer({ orders: [row("2", "Anna")], next: "page 2" });
  void search.loadMore();
  expect(aborted()).toEqual([true, true, true, false]);
  await setFilter({});
  expect(aborted()).toEqual([true, true, true, true]);
});
