import { isOrderEvent, type OrderEvent } from "@orderwire/client";
import { api, ApiError } from "../../api.ts";

const PAGE_SIZE = 1_000;

/** One page of the journal. `next` is the cursor of what follows, also at the end. */
export interface StoryPage {
  readonly events: readonly OrderEvent[];
  readonly next: string;
  readonly more: boolean;
}

export async function loadPage(after: string | undefined): Promise<StoryPage> {
  const { events, next, more } = await api.events(after, PAGE_SIZE);
  return { events: events.filter(isOrderEvent), next, more };
}

/**
 * A cursor not long before a time in milliseconds: that of the creation of the last order before it. Undefined if there is none, or if
 * the journal does not go back to it: the story then begins with the journal.
 */
export async function cursorBefore(time: number): Promise<string | undefined> {
  const { orders } = await api.ordersBefore(new Date(time).toISOString());
  const [order] = orders;
  if (order === undefined) return undefined;
  const { events } = await api.orderEvents(order.key, PAGE_SIZE);
  const created = events.findLast(({ type, at }) => type === "new_order" && Date.parse(at) <= time);
  return created?.id;
}

/** Whether the journal does not have this part any more. */
export function isGone(error: unknown): boolean {
  return error instanceof ApiError && error.status === 410;
}
