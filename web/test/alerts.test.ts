import type { NewOrder } from "@orderwire/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { fakeIndexedDb } from "./fake-indexeddb.ts";

interface Shown {
  title: string;
  body: string | undefined;
  tag: string | undefined;
}

let shown: Shown[];
let tones: number;
let permission: NotificationPermission;
/** What the user answers when asked for permission. */
let answer: NotificationPermission;
/** Clicks on the newest notification. */
let click: () => void;
let alerts: typeof import("../src/alerts.ts");
let preferences: typeof import("../src/preferences.ts");

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"], now: 1_000_000 });
  localStorage.clear();
  shown = [];
  tones = 0;
  permission = "granted";
  answer = "granted";
  class FakeNotification {
    static get permission() {
      return permission;
    }
    static requestPermission = async (): Promise<NotificationPermission> => (permission = answer);
    onclick: (() => void) | undefined;
    constructor(title: string, { body, tag }: NotificationOptions) {
      shown.push({ title, body, tag });
      click = () => this.onclick?.();
    }
    close() {}
  }
  const node = { gain: { setValueAtTime() {}, linearRampToValueAtTime() {}, exponentialRampToValueAtTime() {} }, connect: () => node };
  class FakeAudioContext {
    state = "running";
    currentTime = 0;
    createGain = () => node;
    createOscillator = () => ({ frequency: {}, connect: () => node, start: () => tones++, stop() {} });
  }
  vi.stubGlobal("Notification", FakeNotification);
  vi.stubGlobal("AudioContext", FakeAudioContext);
  vi.resetModules();
  alerts = await import("../src/alerts.ts");
  preferences = await import("../src/preferences.ts");
  preferences.setPreferences({ language: "en" });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

function order(n: number, fields: Partial<NewOrder> = {}): NewOrder {
  return { type: "new_order", id: `e-1-${n}`, order_id: n, key: String(n), order_number: `N${n}`, customer_name: "Anna", total: "1.50", status: "pending", at: "2026-01-02T03:04:05Z", ...fields };
}

/** Waits until the tabs have agreed which of them speaks. */
async function said(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

function setHidden(hidden: boolean): void {
  vi.spyOn(document, "hidden", "get").mockReturnValue(hidden);
}

test("does nothing by default", async () => {
  setHidden(true);
  alerts.alertNewOrder(order(1));
  await said();
  expect([shown, tones]).toEqual([[], 0]);
});

test("notifies about the first order at once, and about the following ones together", async () => {
  setHidden(true);
  preferences.setPreferences({ notifications: true });
  for (let n = 1; n <= 5; n++) alerts.alertNewOrder(order(n));
  await said();
  expect(shown).toEqual([{ title: "🛒 New order #N1", body: expect.stringContaining("Anna · "), tag: "orderwire-new-order" }]);
  vi.advanceTimersByTime(2_999);
  await said();
  expect(shown).toHaveLength(1);
  vi.advanceTimersByTime(1);
  await said();
  expect(shown.map(({ title }) => title)).toEqual(["🛒 New order #N1", "🛒 4 new orders"]);
  vi.advanceTimersByTime(10_000);
  await said();
  expect(shown).toHaveLength(2);
});

test("names an order without a number by its key, and leaves out what is null", async () => {
  setHidden(true);
  preferences.setPreferences({ notifications: true });
  const { order_number: _, ...numberless } = order(1, { order_id: "9007199254740993", key: "9007199254740993", customer_name: null, currency: "JPY", total: "150" });
  alerts.alertNewOrder(numberless);
  await said();
  expect(shown).toMatchObject([{ title: "🛒 New order #9007199254740993", body: "¥150" }]);
});

test("shows no notification while the tab is visible", async () => {
  setHidden(false);
  preferences.setPreferences({ notifications: true });
  alerts.alertNewOrder(order(1));
  await said();
  expect(shown).toEqual([]);
});

test("plays two tones, at most once a second", async () => {
  preferences.setPreferences({ sound: true });
  alerts.alertNewOrder(order(1));
  alerts.alertNewOrder(order(2));
  await said();
  expect(tones).toBe(2);
  vi.advanceTimersByTime(1_000);
  alerts.alertNewOrder(order(3));
  await said();
  expect(tones).toBe(4);
});

test("says nothing of an order of which another tab has said it", async () => {
  vi.stubGlobal("indexedDB", fakeIndexedDb());
  setHidden(true);
  preferences.setPreferences({ notifications: true, sound: true });
  alerts.alertNewOrder(order(1));
  await said();
  expect([shown.length, tones]).toEqual([1, 2]);
  vi.resetModules(); // the same in another tab
  const other: typeof alerts = await import("../src/alerts.ts");
  other.alertNewOrder(order(1));
  other.alertNewOrder(order(2));
  await said();
  expect([shown.length, tones]).toEqual([1, 2]);
  vi.advanceTimersByTime(3_000);
  await said();
  expect(shown.map(({ title }) => title)).toEqual(["🛒 New order #N1", "🛒 New order #N2"]);
});

test("speaks in each tab where the browser stores nothing", async () => {
  vi.stubGlobal("indexedDB", {
    open() {
      throw new DOMException("no storage", "SecurityError");
    },
  });
  setHidden(true);
  preferences.setPreferences({ notifications: true });
  alerts.alertNewOrder(order(1));
  await said();
  vi.resetModules();
  (await import("../src/alerts.ts")).alertNewOrder(order(1));
  await said();
  expect(shown).toHaveLength(2);
});

test("opens the page of the order when its notification is clicked", async () => {
  history.replaceState(null, "", "/admin/dashboard?q=anna");
  setHidden(true);
  preferences.setPreferences({ notifications: true });
  alerts.alertNewOrder(order(1, { key: "a/b" }));
  await said();
  click();
  expect(location.pathname).toBe("/admin/dashboard/orders/a%2Fb");
});

test("leaves the notification to the service worker where the page may not show one", async () => {
  const showNotification = vi.fn();
  vi.stubGlobal("Notification", class {
    static permission = "granted";
    constructor() {
      throw new TypeError("Illegal constructor. Use ServiceWorkerRegistration.showNotification() instead.");
    }
  });
  vi.stubGlobal("navigator", Object.assign(Object.create(navigator), { serviceWorker: { ready: Promise.resolve({ showNotification }) } }));
  setHidden(true);
  preferences.setPreferences({ notifications: true });
  alerts.alertNewOrder(order(1));
  await said();
  expect(showNotification.mock.calls).toEqual([
    ["🛒 New order #N1", { body: expect.stringContaining("Anna"), tag: "orderwire-new-order", data: { href: "/admin/dashboard/orders/1" } }],
  ]);
});

test("switches notifications on only if the browser allows them", async () => {
  permission = "default";
  answer = "denied";
  await alerts.setNotificationsEnabled(true);
  expect(preferences.getPreferences().notifications).toBe(false);
  permission = "granted";
  await alerts.setNotificationsEnabled(true);
  expect(preferences.getPreferences().notifications).toBe(true);
  await alerts.setNotificationsEnabled(false);
  expect(preferences.getPreferences().notifications).toBe(false);
});

test("shows none after the user has taken the permission back in the browser", async () => {
  setHidden(true);
  preferences.setPreferences({ notifications: true });
  permission = "denied";
  alerts.alertNewOrder(order(1));
  await said();
  expect(shown).toEqual([]);
});

test("plays the sound when it is switched on", () => {
  alerts.setSoundEnabled(true);
  expect([tones, preferences.getPreferences().sound]).toEqual([2, true]);
  alerts.setSoundEnabled(false);
  expect([tones, preferences.getPreferences().sound]).toEqual([2, false]);
});
