import { act, fireEvent, screen, waitFor } from "@testing-library/react";
import { wsService } from "@orderwire/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeServer } from "../../client/test/fake-server.ts";
import { ConnectionIndicator } from "../../src/ui/ConnectionIndicator.tsx";
import { FeedFrame } from "../../src/ui/FeedFrame.tsx";
import { renderFixed } from "./render-fixed.tsx";

const SINCE = "2026-01-02T03:04:05Z";
let server: FakeServer;

beforeEach(() => {
  server = new FakeServer();
  server.install();
  wsService.configure({ url: "ws://shop.example/api/ws" });
});
afterEach(() => wsService.disconnect());

function open(lastMessageAt: number | null = null): void {
  renderFixed(
    <>
      <ConnectionIndicator />
      <FeedFrame />
    </>,
    { lastMessageAt },
  );
  act(() => wsService.connect());
}

const state = () => document.querySelector(".connection-state")?.textContent;

test("is online, without a frame, while events flow", async () => {
  open(Date.parse(SINCE));
  await waitFor(() => expect(state()).toBe("🟢 Online (Live)"));
  expect(document.querySelector("time")?.dataset.asOf).toBe(String(Date.parse(SINCE)));
  expect(document.querySelector(".feed-frame")).toBeNull();
});

test("while the server gets no events, both say since when, by the server's clock", async () => {
  open(Date.now());
  await waitFor(() => expect(server.sessions).toHaveLength(1));
  act(() => server.last.send({ type: "feed_status", live: false, since: SINCE }));
  await waitFor(() => expect(state()).toBe("🟡 Online, no events"));
  expect(document.querySelector("time")?.dataset.asOf).toBe(String(Date.parse(SINCE)));
  expect((document.querySelector(".feed-frame") as HTMLElement).dataset.since).toBe(String(Date.parse(SINCE)));
  act(() => server.last.send({ type: "feed_status", live: true, since: SINCE }));
  await waitFor(() => expect(document.querySelector(".feed-frame")).toBeNull());
});

test("offline it counts down to the next attempt, which a button makes at once", async () => {
  open(Date.parse(SINCE));
  await waitFor(() => expect(state()).toBe("🟢 Online (Live)"));
  act(() => server.drop());
  await screen.findByText(/^attempt 1 in \d+ s$/);
  expect(state()).toBe("⚪ Offline");
  expect(screen.getByRole("alert").textContent).toContain("No events since");
  fireEvent.click(screen.getByRole("button", { name: "Now" }));
  await waitFor(() => expect(state()).toBe("🟢 Online (Live)"));
  expect(server.sessions).toHaveLength(2);
});

test("a page that was just opened shows no frame at once", async () => {
  server.refuse = "silently";
  open();
  await waitFor(() => expect(state()).toBe("⚪ Offline"));
  expect(document.querySelector(".feed-frame")).toBeNull();
});
