/** One status on an order's way. */
export interface Step {
  readonly status: string;
  readonly state: "done" | "current" | "to-come";
}

/**
 * The way of an order with this status: the statuses of the table's map, in its order, without the `cancelled` ones. Null for a status
 * that is not on the way.
 */
export function progressOf(status: string, statuses: readonly string[], cancelled: readonly string[]): readonly Step[] | null {
  const way = statuses.filter((name) => !cancelled.includes(name));
  const present = way.indexOf(status);
  if (present < 0) return null;
  return way.map((name, index) => ({ status: name, state: index < present ? "done" : index === present ? "current" : "to-come" }));
}
