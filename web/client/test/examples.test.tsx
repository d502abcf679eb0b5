import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { LiveOrders } from "../../../examples/LiveOrders.tsx";
import { wsService } from "../src/orderwire.js";
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
  wsService.disconnect();
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
