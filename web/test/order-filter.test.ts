import { expect, test } from "vitest";
import { EMPTY_FILTER, filterPredicate, type OrderFilter } from "../src/state/order-filter.ts";
import type { Order } from "../src/state/order-list.ts";

const anna: Order = {
  key: "a1",
  rank: 1,
  number: "ORD-1",
  customer: "Anna Nowak",
  total: "1.00",
  currency: null,
  status: "ready",
  createdAt: null,
  createdMs: NaN,
  data: null,
  truncated: [],
};
const ivan: Order = { ...anna, key: "b2", number: "ORD-22", customer: "Иван Иванов", status: "pending" };
const unnamed: Order = { ...anna, key: "c3", number: "c3", customer: null, status: "" };

function matches(filter: Partial<OrderFilter>): string[] {
  const predicate = filterPredicate({ ...EMPTY_FILTER, ...filter });
  return [anna, ivan, unnamed].filter((order) => predicate?.(order) ?? true).map(({ key }) => key);
}

test("an empty filter needs no predicate", () => {
  expect(filterPredicate(EMPTY_FILTER)).toBeUndefined();
  expect(filterPredicate({ status: null, text: "  " })).toBeUndefined();
});

test.each<[string, Partial<OrderFilter>, string[]]>([
  ["a status", { status: "ready" }, ["a1"]],
  ["orders without a status", { status: "" }, ["c3"]],
  ["a part of the key", { text: "B2" }, ["b2"]],
  ["a part of the number, in any case", { text: "ord-2" }, ["b2"]],
  ["a part of the name, in any case and with spaces around", { text: " иВАН " }, ["b2"]],
  ["text that two orders contain", { text: "ORD" }, ["a1", "b2"]],
  ["a status and a text, which must both match", { status: "ready", text: "иван" }, []],
])("matches %s", (_, filter, keys) => {
  expect(matches(filter)).toEqual(keys);
});
