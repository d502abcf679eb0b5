import { wsService, type OrderEvent } from "@orderwire/client";
import { act, cleanup, configure, render } from "@testing-library/react";
import type { ReactNode } from "react";
import { afterEach, beforeEach, vi } from "vitest";
import { FakeServer } from "../client/test/fake-server.ts";
import { ApiError, type Api, type Meta, type OrderRow, type StatusPatch } from "../src/api.ts";
import { navigate } from "../src/route.ts";
import { setPreferences } from "../src/preferences.ts";
import { DashboardStore } from "../src/state/dashboard-store.ts";
import type { HistoryEvent } from "../src/state/order-detail.ts";
import { DashboardContext } from "../src/ui/use-dashboard.ts";
import { moved } from "./fake-feed.ts";

// Generous for a loaded machine; only a failing test waits that long.
configure({ asyncUtilTimeout: 30_000 });

/** The service drops events that it has seen, also those of an earlier test. */
let lastEvent = 100;

/** A shop behind the server's interface, in memory: its orders, their history, and who may change them. */
export class FakeShop {
  readonly server = new FakeServer();
  meta: Meta = {
    statuses: ["pending", "confirmed", "ready", "delivered", "cancelled"],
    cancelled: ["cancelled"],
    table: "public.orders",
    write: { status: true, reason: null, transitions: { pending: ["confirmed", "cancelled"], confirmed: ["ready"], ready: ["delivered"] } },
  };
  orders = new Map<string, OrderRow>();
  history = new Map<string, HistoryEvent[]>();
  patches: [string, StatusPatch][] = [];
  /** What the next change is answered with, instead of being carried out. */
  nextError: unknown;

  readonly api: Api = {
    totals: async () => ({}),
    series: async () => ({ period: "1h", time_zone: "UTC", buckets: [], statuses: {}, position: null, complete: false, now: Date.now() }),
    search: async () => ({ orders: [], next: null }),
    meta: async () => this.meta,
    orders: async () => ({ orders: this.#rows(), next: null }),
    ordersWithStatus: async (status: string) => ({ orders: this.#rows().filter((row) => row.status === status), next: null }),
    order: async (key: string) => this.orders.get(key) ?? notFound(),
    orderEvents: async (key: string) => {
      const events = this.history.get(key);
      return events === undefined && !this.orders.has(key) ? notFound() : { events: events ?? [] };
    },
    events: async () => ({ events: [], next: "", more: false }),
    changeStatus: async (key: string, patch: StatusPatch) => {
      this.patches.push([key, patch]);
      const error = this.nextError;
      this.nextError = undefined;
      if (error !== undefined) throw error;
      const row = this.orders.get(key) ?? notFound();
      if (row.status !== patch.from) throw new ApiError(409, { status: row.status, actor: { role: "serving", application_name: "dashboard: Bo" } });
      const event = this.change(key, patch.status);
      return { id: event.id, order: this.orders.get(key) as OrderRow };
    },
  } as unknown as Api;

  add(...rows: OrderRow[]): void {
    for (const row of rows) this.orders.set(row.key, row);
  }

  /** Changes the status as another program would, and publishes the event. */
  change(key: string, status: string, program = "dashboard: Anna"): OrderEvent {
    const row = this.orders.get(key) as OrderRow;
    const actor = { role: "serving", application_name: program };
    const event = moved(Number(key), ++lastEvent, row.status ?? "", status, { actor, at: new Date().toISOString() });
    this.orders.set(key, { ...row, status });
    this.publish(event);
    return event;
  }

  publish(event: OrderEvent): void {
    this.history.set(event.key, [event, ...(this.history.get(event.key) ?? [])]);
    for (const session of this.server.live) session.send(event);
  }

  #rows(): OrderRow[] {
    return [...this.orders.values()].sort((a, b) => Number(b.key) - Number(a.key));
  }
}

function notFound(): never {
  throw new ApiError(404);
}

/** A shop for each test, in English, with a page of which `path` is the part behind /admin/dashboard. */
export function fakeShop(): { current: FakeShop; open: (path: string, view: ReactNode) => Promise<void> } {
  const fake = {
    current: new FakeShop(),
    async open(path: string, view: ReactNode) {
      navigate(`/admin/dashboard${path}`);
      const store = new DashboardStore(wsService, fake.current.api, () => {});
      await act(async () => {
        render(<DashboardContext value={store}>{view}</DashboardContext>);
        wsService.connect(); // the hook takes the view of the test before for this one, and does not connect again
      });
    },
  };
  beforeEach(() => {
    localStorage.clear();
    setPreferences({ language: "en", board: { shown: null, limits: {}, alarm: false } });
    fake.current = new FakeShop();
    fake.current.server.install();
    HTMLDialogElement.prototype.showModal ??= function showModal(this: HTMLDialogElement) {
      this.open = true;
    };
    wsService.configure({ url: "ws://shop.example/api/ws" });
  });
  afterEach(() => {
    cleanup();
    wsService.disconnect();
    vi.unstubAllGlobals();
  });
  return fake;
}
