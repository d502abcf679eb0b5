import type { Meta, WriteAccess } from "../api.ts";

/** Why no status can be changed; null if one can. "loading": the server has not said it yet. */
export type WriteBlock = "loading" | NonNullable<WriteAccess["reason"]>;

export function writeBlock({ write, statuses }: Meta): WriteBlock | null {
  // A server without this feature does not allow it.
  if (write === undefined) return statuses.length === 0 ? "loading" : "not_in_map";
  return write.status ? null : (write.reason ?? "not_in_map");
}

/** Whether the map allows an order to change from one status to another. One without a status cannot be changed. */
export function isAllowed({ write }: Meta, from: string, to: string): boolean {
  if (write?.status !== true || from === to || from === "" || to === "") return false;
  return write.transitions === null || (write.transitions[from]?.includes(to) ?? false);
}

/** The statuses that a user can choose from, in the order in which to show them: those of the map, then others that a change may lead to. */
export function choosableStatuses({ statuses, write }: Meta): string[] {
  return [...new Set([...statuses, ...Object.values(write?.transitions ?? {}).flat()])];
}

/** Whether an order with this status needs no more work: it is cancelled, delivered, or no change leads away from it. */
export function isFinal({ cancelled, write }: Meta, status: string): boolean {
  if (cancelled.includes(status) || status.toLowerCase() === "delivered") return true;
  const transitions = write?.transitions;
  return transitions != null && Object.keys(transitions).length > 0 && (transitions[status]?.length ?? 0) === 0;
}
