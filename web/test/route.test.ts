import { expect, test } from "vitest";
import { parseRoute } from "../src/route.ts";

const PAGE = "/shop/admin/dashboard";

test.each([
  ["", { view: "list", orderKey: null }],
  ["/", { view: "list", orderKey: null }],
  ["/board", { view: "board", orderKey: null }],
  ["/order", { view: "list", orderKey: null }],
  ["/nothing", { view: "list", orderKey: null }],
  ["/orders/17", { view: "order", orderKey: "17" }],
  ["/orders/a%2Fb%20%C5%82", { view: "order", orderKey: "a/b ł" }],
  ["/orders/%zz", { view: "order", orderKey: "%zz" }],
])("the path %j", (path, expected) => {
  expect(parseRoute(PAGE + path, "?q=1", PAGE)).toEqual({ ...expected, query: "q=1" });
});
