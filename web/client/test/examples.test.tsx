import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { get } from "svelte/store";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createApp, defineComponent, h } from "vue";
import { renderToString } from "vue/server-renderer";
import { LiveOrders } from "../../../examples/LiveOrders.tsx";
import { orders } from "../../../examples/svelte/orders.ts";
// Renamed, since the linter takes what begins with "use" for a hook of React.
import { useOrders as ordersOfVue } from "../../../examples/vue/use-orders.ts";
import { FakeServer, order, settled } from "./fake-server.js";

let server: FakeServer;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
  vi.spyOn(Math, "random").mockReturnValue(1);
  vi.stubGlobal("location", new URL("https://shop.example/"));
  server = new FakeServer();
  server.install();
});
afterEach(() => {
  cleanup();
  vi.advanceTimersByTime(1_000); // the store disconnects
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function rendered(): Promise<void> {
  await act(async () => {
    await settled();
    vi.advanceTimersByTime(50);
    await settled();
  });
}

it("LiveOrders shows the orders, and retries at once on a click", async () => {
  render(<LiveOrders />);
  expect(screen.getByText("⚪ Offline")).toBeTruthy();
  await rendered();
  expect(screen.getByText("🟢 Live")).toBeTruthy();
  expect(server.last.url.href).toBe("wss://shop.example/api/ws");
  server.publish(order(7));
  await rendered();
  expect(screen.getByText("The latest: ORD-2024-7, Иван Иванов, 150.50")).toBeTruthy();
  server.drop();
  await rendered();
  fireEvent.click(screen.getByText("Attempt 1 is coming: try now"));
  await rendered();
  expect(screen.getByText("🟢 Live")).toBeTruthy();
  server.drop(3500);
  await rendered();
  expect(screen.getByRole("alert")).toBeTruthy();
});

const Orders = defineComponent({
  setup() {
    const live = ordersOfVue();
    return () => h("p", `${live.value.isConnected} ${live.value.stats?.totalOrders} ${live.value.latestOrder?.customer_name}`);
  },
});

it("the composable of Vue shows the orders, and disconnects a second after the last component is unmounted", async () => {
  expect(await renderToString(h(Orders))).toBe("<p>false undefined undefined</p>");
  expect(server.sessions).toEqual([]);
  const root = document.createElement("main");
  const app = createApp(() => [h(Orders), h(Orders)]);
  app.mount(root);
  await rendered();
  expect(root.textContent).toBe("true 0 undefined".repeat(2));
  server.publish(order(8));
  await rendered();
  expect(root.textContent).toBe("true 0 Иван Иванов".repeat(2));
  expect(server.sessions).toHaveLength(1);
  app.unmount();
  vi.advanceTimersByTime(1_000);
  await settled();
  expect(server.live).toEqual([]);
});

it("the store of Svelte has the orders, disconnects without subscribers, and does not connect on a server", async () => {
  const seen: unknown[] = [];
  const unsubscribe = orders.subscribe(({ isConnected, stats, latestOrder }) => seen.push([isConnected, stats?.totalOrders, latestOrder?.order_id]));
  await rendered();
  expect(get(orders).isConnected).toBe(true);
  server.publish(order(9));
  await rendered();
  expect(seen.at(0)).toEqual([false, 0, undefined]); // the totals that the service had received
  expect(seen.at(-1)).toEqual([true, 0, 9]);
  unsubscribe();
  vi.advanceTimersByTime(1_000);
  await settled();
  expect(server.live).toEqual([]);
  vi.stubGlobal("window", undefined);
  expect(get(orders)).toEqual(expect.objectContaining({ isConnected: true })); // the last value that the store had
  await rendered();
  expect(server.live).toEqual([]);
});
