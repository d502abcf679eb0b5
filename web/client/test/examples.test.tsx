import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { LiveOrders } from "../../../examples/LiveOrders.tsx";
import { wsService } from "../src/orderwire.js";
import { FakeServer, order, settled } from "./fakeServer.js";

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

async function shown(): Promise<void> {
  await act(async () => {
    await settled();
    vi.advanceTimersByTime(50);
    await settled();
  });
}

it("is a component that shows the orders, and lets one try at once", async () => {
  render(<LiveOrders />);
  expect(screen.getByText("⚪ Offline")).toBeTruthy();
  await shown();
  expect(screen.getByText("🟢 Live")).toBeTruthy();
  expect(server.last.url.href).toBe("wss://shop.example/api/ws");
  server.publish(order(7));
  await shown();
  expect(screen.getByText("The latest: ORD-2024-7, Иван Иванов, 150.50")).toBeTruthy();
  server.drop();
  await shown();
  fireEvent.click(screen.getByText("Attempt 1 is coming: try now"));
  await shown();
  expect(screen.getByText("🟢 Live")).toBeTruthy();
  server.drop(3500);
  await shown();
  expect(screen.getByRole("alert")).toBeTruthy();
});
