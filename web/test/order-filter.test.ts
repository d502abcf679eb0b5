import { expect, test } from "vitest";
import { EMPTY_FILTER, filterPredicate, type OrderFilter } from "../src/state/order-filter.ts";
import type { Order } from "../src/state/order-list.ts";

const anna: Order = { id: 1, number: "ORD-1", customer: "Anna Nowak", total: "1.00", status: "ready", createdAt: 0, updatedAt: 0 };
const ivan: Order = { ...anna, id: 2, number: "ORD-22", customer: "Иван Иванов", status: "pending" };

function matches(filter: Partial<OrderFilter>): number[] {
  const predicate = filterPredicate({ ...EMPTY_FILTER, ...filter });
  return [anna, ivan].filter((order) => predicate?.(order) ?? true).map(({ id }) => id);
}

test("an empty filter needs no predicate", () => {
  expect(filterPredicate(EMPTY_FILTER)).toBeUndefined();
  expect(filterPredicate({ status: null, text: "  " })).toBeUndefined();
});

test.each<[string, Partial<OrderFilter>, number[]]>([
  ["a status", { status: "ready" }, [1]],
  ["a part of the number, in any case", { text: "ord-2" }, [2]],
  ["a part of the name, in any case and with spaces around", { text: " иВАН " }, [2]],
  ["text that all orders contain", { text: "ORD" }, [1, 2]],
  ["a status and a text, which must both match", { status: "ready", text: "иван" }, []],
])("matches %s", (_, filter, ids) => {
  expect(matches(filter)).toEqual(ids);
});
