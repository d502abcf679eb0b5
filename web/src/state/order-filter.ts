import type { OrdersQuery } from "../api.ts";
import { addDays, dayAt, isDay, startOfDay } from "./days.ts";
import type { Order } from "./order-list.ts";

/** "range": from the day `from` to the day `to`, both included; either may be "", for no bound. */
export const DAYS = ["any", "today", "yesterday", "7d", "range"] as const;
export type Days = (typeof DAYS)[number];

export interface OrderFilter {
  /** Any of these; empty: any status. "": orders without one. */
  statuses: readonly string[];
  /**
   * Part of an order's number, with or without #, or of the customer's name; the whole key; or the amount. Case and surrounding spaces are
   * ignored. The server's rule is the same, and also finds a whole customer_id.
   */
  text: string;
  /** The day on which an order was made, in the shop's time zone. */
  days: Days;
  from: string;
  to: string;
}

export const EMPTY_FILTER: OrderFilter = { statuses: [], text: "", days: "any", from: "", to: "" };

/** The names of the filter's parameters in an address. */
const PARAMETERS = ["q", "status", "days", "from", "to"];

/** The filter in the query of an address. What is no filter there is ignored. */
export function parseFilter(query: string): OrderFilter {
  const parameters = new URLSearchParams(query);
  const day = (name: string) => [parameters.get(name) ?? ""].find(isDay) ?? "";
  const [from, to] = [day("from"), day("to")];
  const days = DAYS.find((name) => name === parameters.get("days") && name !== "range") ?? (from || to ? "range" : "any");
  const isRange = days === "range";
  return {
    statuses: [...new Set(parameters.getAll("status"))],
    text: parameters.get("q") ?? "",
    days,
    from: isRange ? from : "",
    to: isRange ? to : "",
  };
}

/** The query of an address with this filter. The parameters of `query` that are not of the filter stay. */
export function filterQuery({ statuses, text, days, from, to }: OrderFilter, query = ""): string {
  const parameters = new URLSearchParams(query);
  for (const name of PARAMETERS) parameters.delete(name);
  if (text.trim() !== "") parameters.set("q", text);
  for (const status of statuses) parameters.append("status", status);
  if (days !== "any" && days !== "range") parameters.set("days", days);
  if (days === "range" && from !== "") parameters.set("from", from);
  if (days === "range" && to !== "") parameters.set("to", to);
  return parameters.toString();
}

export function isFiltered(filter: OrderFilter): boolean {
  return filterQuery(filter) !== "";
}

/** The filter with one more status, or with one less if it has that status. */
export function toggleStatus(filter: OrderFilter, status: string): OrderFilter {
  const { statuses } = filter;
  return { ...filter, statuses: statuses.includes(status) ? statuses.filter((other) => other !== status) : [...statuses, status] };
}

/** The first day, and the day after the last one; "" for no bound. `now` in milliseconds since the Unix epoch. */
function dayBounds({ days, from, to }: OrderFilter, now: number, timeZone: string | undefined): [string, string] {
  const today = dayAt(now, timeZone);
  if (days === "today") return [today, addDays(today, 1)];
  if (days === "yesterday") return [addDays(today, -1), today];
  if (days === "7d") return [addDays(today, -6), addDays(today, 1)];
  return days === "range" ? [from, to === "" ? "" : addDays(to, 1)] : ["", ""];
}

/** The filter as the server takes it. It cannot be asked for orders without a status. */
export function ordersQuery(filter: OrderFilter, now: number, timeZone: string | undefined): OrdersQuery {
  const [from, to] = dayBounds(filter, now, timeZone);
  const q = searchText(filter.text);
  return {
    ...(q !== "" && { q }),
    ...(filter.statuses.length > 0 && isExactQuery(filter) && { status: filter.statuses }),
    ...(from !== "" && { from }),
    ...(to !== "" && { to }),
  };
}

/** Whether the server's answer to `ordersQuery` has nothing but orders that match. */
export function isExactQuery({ statuses }: OrderFilter): boolean {
  return !statuses.includes("");
}

export type OrderPredicate = (order: Order) => boolean;

/** Returns undefined if every order matches. */
export function filterPredicate(filter: OrderFilter, now: number, timeZone: string | undefined): OrderPredicate | undefined {
  if (!isFiltered(filter)) return undefined;
  const { statuses } = filter;
  const [from, to] = dayBounds(filter, now, timeZone);
  const start = from === "" ? -Infinity : startOfDay(from, timeZone);
  const end = to === "" ? Infinity : startOfDay(to, timeZone);
  const hasDays = from !== "" || to !== "";
  const matchesText = textPredicate(filter.text);
  return (order) =>
    (statuses.length === 0 || statuses.includes(order.status)) &&
    (!hasDays || (order.createdMs >= start && order.createdMs < end)) &&
    matchesText(order);
}

/** The orders that the text itself names by key, then those by number, then the others: the order in which the server lists them. */
export function exactFirst(orders: readonly Order[], { text }: OrderFilter): readonly Order[] {
  const name = searchText(text).toLowerCase().replace(/^#\s*/, "");
  if (name === "") return orders;
  const byKey = orders.filter(({ key }) => key.toLowerCase() === name);
  const isNumbered = ({ key, number }: Order) => key.toLowerCase() !== name && number.toLowerCase().replace(/^#\s*/, "") === name;
  const exact = new Set([...byKey, ...orders.filter(isNumbered)]);
  return exact.size === 0 ? orders : [...exact, ...orders.filter((order) => !exact.has(order))];
}

function textPredicate(text: string): OrderPredicate {
  const query = searchText(text).toLowerCase();
  if (query === "") return () => true;
  const number = query.replace(/^#\s*/, "");
  if (number !== query) return (order) => order.key.toLowerCase() === number || order.number.toLowerCase().includes(number);
  const amount = normalizedAmount(query);
  return (order) =>
    order.key.toLowerCase() === query ||
    [order.number, order.customer ?? ""].some((field) => field.toLowerCase().includes(query)) ||
    (amount !== null && order.total !== null && normalizedAmount(order.total) === amount);
}

const SHOWN_AMOUNT =
  /^(?:\p{Sc}|zł|[a-z]{3})?\s*(?<whole>\d{1,3}(?:[\s.,'’]\d{3})*|\d+)[.,](?<fraction>\d{1,2})\s*(?:\p{Sc}|zł|[a-z]{3})?$/iu;

/** An amount that was copied from a page, with its currency and its groups of digits, as a number; any other text without spaces around. */
function searchText(text: string): string {
  const { whole, fraction } = SHOWN_AMOUNT.exec(text.trim())?.groups ?? {};
  return whole === undefined ? text.trim() : `${whole.replace(/\D/g, "")}.${fraction}`;
}

/** The digits of an amount, with a point or a comma, without zeros that mean nothing. Null if it is none. */
function normalizedAmount(text: string): string | null {
  const [, sign = "", whole = "", fraction = ""] = /^(-?)0*(\d+)(?:[.,](\d*?)0*)?$/.exec(text) ?? [];
  return whole === "" ? null : `${sign}${whole}${fraction === "" ? "" : `.${fraction}`}`;
}
