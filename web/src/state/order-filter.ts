import type { Order } from "./order-list.ts";

export interface OrderFilter {
  /** Null: any status. "": orders without one. */
  status: string | null;
  /** Part of an order's number, key, or customer's name; case and surrounding spaces are ignored. */
  text: string;
}

export const EMPTY_FILTER: OrderFilter = { status: null, text: "" };

/** Returns undefined if every order matches. */
export function filterPredicate({ status, text }: OrderFilter): ((order: Order) => boolean) | undefined {
  const query = text.trim().toLowerCase();
  if (status === null && query === "") return undefined;
  return (order) =>
    (status === null || order.status === status) &&
    (query === "" || [order.number, order.customer ?? "", order.key].some((field) => field.toLowerCase().includes(query)));
}
