import { cleanup, configure, render } from "@testing-library/react";
import type { ReactNode } from "react";
import { WebSocketService } from "@orderwire/client";
import { afterEach, vi } from "vitest";
import { FakeServer } from "../../client/test/fake-server.ts";
import type { Api } from "../../src/api.ts";
import { setPreferences, type Language } from "../../src/preferences.ts";
import { DashboardStore } from "../../src/state/dashboard-store.ts";
import { DashboardContext } from "../../src/ui/use-dashboard.ts";

// A render may take long on a loaded machine; only a test that fails waits that long.
configure({ asyncUtilTimeout: 30_000 });

const services: WebSocketService[] = [];

afterEach(() => {
  cleanup();
  for (const service of services.splice(0)) service.disconnect();
  vi.unstubAllGlobals();
});

export interface PageOptions {
  language?: Language;
  /** Answers of the HTTP interface. By default there are no orders, and no table is described. */
  api?: Partial<Api>;
}

/**
 * Renders a component as the page does: with a `DashboardStore`, which is connected to a `FakeServer`. A test sends messages by
 * `server.last.send()` and waits for what they change by `screen.findBy…()`. To be called once in a test.
 */
export function renderPage(component: ReactNode, { language = "en", api = {} }: PageOptions = {}) {
  const server = new FakeServer();
  server.install();
  setPreferences({ language });
  const service = new WebSocketService({ url: "ws://shop.example/api/ws" });
  services.push(service);
  const unexpected = (): Promise<never> => Promise.reject(new Error("unexpected request"));
  const store = new DashboardStore(
    service,
    {
      totals: () => Promise.resolve({}),
      meta: () => Promise.resolve({ statuses: [], cancelled: [] }),
      orders: () => Promise.resolve({ orders: [], next: null }),
      order: unexpected,
      events: unexpected,
      ...api,
    } as Api,
    () => {},
  );
  const view = render(<DashboardContext value={store}>{component}</DashboardContext>);
  service.connect();
  return { ...view, server, service, store };
}
