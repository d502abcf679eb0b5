import { expect, test } from "vitest";
import { EMPTY_FILTER, filterPredicate, filterQuery, isFiltered, ordersQuery, parseFilter, type OrderFilter } from "../src/state/order-filter.ts";
import type { Order } from "../src/state/order-list.ts";

const NOW = Date.parse("2026-06-10T10:00:00Z");
const ZONE = "Europe/Warsaw";

function order(key: string, createdAt: string | null, fields: Partial<Order>): Order {
  const createdMs = Date.parse(createdAt ?? "");
  return { key, rank: 1, number: key, customer: null, total: null, currency: null, status: "", createdAt, createdMs, data: null, truncated: [], lastEventId: undefined, ...fields };
}

const anna = order("a1", "2026-06-09T22:30:00Z", { number: "ORD-1", customer: "Anna Nowak", total: "150.50", status: "ready" });
const ivan = order("b2", "2026-06-09T21:30:00Z", { number: "ORD-22", customer: "Иван #1 Иванов", total: "150", status: "pending" });
const unnamed = order("c3", null, { total: "0.050" });
const old = order("d4", "2026-06-04T08:00:00Z", { customer: "Old", total: "1500", status: "ready" });

function matches(filter: Partial<OrderFilter>): string[] {
  const predicate = filterPredicate({ ...EMPTY_FILTER, ...filter }, NOW, ZONE);
  return [anna, ivan, unnamed, old].filter((each) => predicate?.(each) ?? true).map(({ key }) => key);
}

test("an empty filter needs no predicate", () => {
  expect(filterPredicate(EMPTY_FILTER, NOW, ZONE)).toBeUndefined();
  expect(filterPredicate({ ...EMPTY_FILTER, text: "  " }, NOW, ZONE)).toBeUndefined();
});

test.each<[string, Partial<OrderFilter>, string[]]>([
  ["a status", { statuses: ["ready"] }, ["a1", "d4"]],
  ["several statuses", { statuses: ["ready", "pending"] }, ["a1", "b2", "d4"]],
  ["orders without a status", { statuses: [""] }, ["c3"]],
  ["the whole key", { text: "B2" }, ["b2"]],
  ["a part of the number, in any case", { text: "ord-2" }, ["b2"]],
  ["a number behind #, and no name", { text: "# ord-1" }, ["a1"]],
  ["a part of the name, in any case and with spaces around", { text: " иВАН " }, ["b2"]],
  ["text that two orders contain", { text: "ORD" }, ["a1", "b2"]],
  ["an amount, not a part of one", { text: "150" }, ["b2"]],
  ["an amount with a comma, and zeros that mean nothing", { text: "150,500" }, ["a1"]],
  ["an amount with its currency", { text: "zł 150.50" }, ["a1"]],
  ["an amount with the currency behind it", { text: "150,50\u00a0€" }, ["a1"]],
  ["an amount below 1", { text: "0,05" }, ["c3"]],
  ["a status and a text, which must both match", { statuses: ["ready"], text: "иван" }, []],
  ["today, in the shop's time zone", { days: "today" }, ["a1"]],
  ["yesterday", { days: "yesterday" }, ["b2"]],
  ["seven days with today", { days: "7d" }, ["a1", "b2", "d4"]],
  ["a range with its last day", { days: "range", from: "2026-06-04", to: "2026-06-09" }, ["b2", "d4"]],
  ["a range without an end", { days: "range", from: "2026-06-09", to: "" }, ["a1", "b2"]],
])("matches %s", (_, filter, keys) => {
  expect(matches(filter)).toEqual(keys);
});

test.each<[string, Partial<OrderFilter>]>([
  ["", {}],
  ["q=anna+%231&status=ready&status=", { text: "anna #1", statuses: ["ready", ""] }],
  ["days=yesterday", { days: "yesterday" }],
  ["from=2026-06-04&to=2026-06-09", { days: "range", from: "2026-06-04", to: "2026-06-09" }],
  ["to=2026-06-09", { days: "range", to: "2026-06-09" }],
])("the query %j is a filter, and the filter that query", (query, fields) => {
  const filter = { ...EMPTY_FILTER, ...fields };
  expect(parseFilter(query)).toEqual(filter);
  expect(filterQuery(filter)).toBe(query);
  expect(isFiltered(filter)).toBe(query !== "");
});

test("an address with nonsense is a filter all the same, and other parameters stay", () => {
  expect(parseFilter("days=never&from=2026-02-31&to=x&status=a&status=a")).toEqual({ ...EMPTY_FILTER, statuses: ["a"] });
  expect(filterQuery({ ...EMPTY_FILTER, text: "b" }, "q=a&days=today&zoom=2")).toBe("zoom=2&q=b");
});

test("asks the server for the same", () => {
  expect(ordersQuery({ ...EMPTY_FILTER, text: " #12 ", statuses: ["ready", "a,b"], days: "today" }, NOW, ZONE)).toEqual({
    q: "#12",
    status: ["ready", "a,b"],
    from: "2026-06-10",
    to: "2026-06-11",
  });
  expect(ordersQuery({ ...EMPTY_FILTER, days: "range", to: "2026-06-09" }, NOW, ZONE)).toEqual({ to: "2026-06-10" });
  // The server cannot be asked for orders without a status.
  expect(ordersQuery({ ...EMPTY_FILTER, statuses: ["", "ready"] }, NOW, ZONE)).toEqual({});
});

test.each([
  ["1,234.50", "1234.50"],
  ["1 234,50 zł", "1234.50"],
  ["1\u00a0234\u202f567,5 PLN", "1234567.5"],
  ["€1.234,50", "1234.50"],
  ["150,5", "150.5"],
  [" ORD-2026.50 ", "ORD-2026.50"],
  ["Anna 12.50", "Anna 12.50"],
  ["#17", "#17"],
])("the text %j is searched for as %j", (text, q) => {
  expect(ordersQuery({ ...EMPTY_FILTER, text }, 0, "UTC")).toEqual({ q });
});
