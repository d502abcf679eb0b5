import type { NewOrder } from "@orderwire/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

interface Shown {
  title: string;
  body: string | undefined;
  tag: string | undefined;
}

let shown: Shown[];
let tones: number;
let permission: NotificationPermission;
let alerts: typeof import("../src/alerts.ts");
let preferences: typeof import("../src/preferences.ts");

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"], now: 1_000_000 });
  localStorage.clear();
  shown = [];
  tones = 0;
  permission = "granted";
  class FakeNotification {
    static requestPermission = async (): Promise<NotificationPermission> => permission;
    constructor(title: string, { body, tag }: NotificationOptions) {
      shown.push({ title, body, tag });
    }
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

function setHidden(hidden: boolean): void {
  vi.spyOn(document, "hidden", "get").mockReturnValue(hidden);
}

test("does nothing by default", () => {
  setHidden(true);
  alerts.alertNewOrder(order(1));
  expect([shown, tones]).toEqual([[], 0]);
});

test("notifies about the first order at once, and about the following ones together", () => {
  setHidden(true);
  preferences.setPreferences({ notifications: true });
  for (let n = 1; n <= 5; n++) alerts.alertNewOrder(order(n));
  expect(shown).toEqual([{ title: "🛒 New order #N1", body: expect.stringContaining("Anna · "), tag: "orderwire-new-order" }]);
  vi.advanceTimersByTime(2_999);
  expect(shown).toHaveLength(1);
  vi.advanceTimersByTime(1);
  expect(shown.map(({ title }) => title)).toEqual(["🛒 New order #N1", "🛒 4 new orders"]);
  vi.advanceTimersByTime(10_000);
  expect(shown).toHaveLength(2);
});

test("names an order without a number by its key, and leaves out what is null", () => {
  setHidden(true);
  preferences.setPreferences({ notifications: true });
  const { order_number: _, ...numberless } = order(1, { order_id: "9007199254740993", key: "9007199254740993", customer_name: null, currency: "JPY", total: "150" });
  alerts.alertNewOrder(numberless);
  expect(shown).toMatchObject([{ title: "🛒 New order #9007199254740993", body: "¥150" }]);
});

test("shows no notification while the tab is visible", () => {
  setHidden(false);
  preferences.setPreferences({ notifications: true });
  alerts.alertNewOrder(order(1));
  expect(shown).toEqual([]);
});

test("plays two tones, at most once a second", () => {
  preferences.setPreferences({ sound: true });
  alerts.alertNewOrder(order(1));
  alerts.alertNewOrder(order(2));
  expect(tones).toBe(2);
  vi.advanceTimersByTime(1_000);
  alerts.alertNewOrder(order(3));
  expect(tones).toBe(4);
});

test("switches notifications on only if the browser allows them", async () => {
  permission = "denied";
  expect(await alerts.setNotificationsEnabled(true)).toBe(false);
  expect(preferences.getPreferences().notifications).toBe(false);
  permission = "granted";
  expect(await alerts.setNotificationsEnabled(true)).toBe(true);
  expect(preferences.getPreferences().notifications).toBe(true);
  expect(await alerts.setNotificationsEnabled(false)).toBe(true);
  expect(preferences.getPreferences().notifications).toBe(false);
});

test("plays the sound when it is switched on", () => {
  alerts.setSoundEnabled(true);
  expect([tones, preferences.getPreferences().sound]).toEqual([2, true]);
  alerts.setSoundEnabled(false);
  expect([tones, preferences.getPreferences().sound]).toEqual([2, false]);
});
