import { wsService, type WebSocketService } from "@orderwire/client";
import { api, type Meta } from "../src/api.ts";
import { EMPTY_FILTER } from "../src/state/order-filter.ts";
import type { Order } from "../src/state/order-list.ts";
import type { SearchStatus } from "../src/state/order-search.ts";
import type { DashboardSnapshot, DashboardStore } from "../src/state/dashboard-store.ts";
import type { StatusChangesSnapshot } from "../src/state/status-change.ts";

/** What the components of a scene find in the store. */
export interface StoreContents extends Partial<DashboardSnapshot> {
  readonly meta: Meta;
  /** Newest first. */
  readonly orders: readonly Order[];
  readonly changes?: StatusChangesSnapshot;
  readonly search?: SearchStatus;
  readonly lastMessageAt?: number | null;
  /** Left out: that of the page. */
  readonly service?: WebSocketService;
}

const EVERYTHING: SearchStatus = { state: "idle", complete: true, more: false, searchedTo: null };

/** A store that never changes, whatever the user does. */
export function fixedStore({
  orders,
  changes = { changes: new Map(), notices: [] },
  search = EVERYTHING,
  lastMessageAt = null,
  service = wsService,
  ...contents
}: StoreContents): DashboardStore {
  const snapshot: DashboardSnapshot = {
    access: "everything",
    signIn: null,
    ordersState: "ready",
    totals: null,
    series: null,
    seriesProblem: null,
    events: [],
    toasts: [],
    version: 1,
    ...contents,
  };
  const nothing = () => {};
  const done = () => Promise.resolve();
  return {
    subscribe: () => nothing,
    getSnapshot: () => snapshot,
    api,
    service,
    lastMessageAt,
    orders: { size: orders.length, all: () => orders.toReversed(), filter: () => [...orders], get: (key: string) => orders.find((order) => order.key === key), next: undefined },
    search: { filter: EMPTY_FILTER, setFilter: nothing, matches: () => orders, status: search, timeZone: "UTC", loadMore: done },
    statusChanges: { subscribe: () => nothing, getSnapshot: () => changes, change: done, undo: done, dismiss: nothing },
    showPeriod: nothing,
    loadOlderOrders: done,
    dismissToast: nothing,
    extendToasts: nothing,
    checkAccess: done,
  } as unknown as DashboardStore;
}
