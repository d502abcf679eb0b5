import type { NewOrder } from "@orderwire/client";
import { formatFor } from "./format.ts";
import { prefer, preferences } from "./preferences.ts";
import { words } from "./words.ts";

/** More often, a sound is noise and a notification a nuisance. */
const SOUND_EVERY_MS = 1_000;
const NOTIFY_EVERY_MS = 3_000;

let audio: AudioContext | undefined;
let waking = false;
let lastSound = 0;
let untold = 0;
let latest: NewOrder;
let telling: ReturnType<typeof setTimeout> | undefined;

/** What reaches a person who is not looking. */
export function alertNewOrder(order: NewOrder): void {
  if (preferences().sound && Date.now() - lastSound >= SOUND_EVERY_MS) {
    lastSound = Date.now();
    chime();
  }
  if (preferences().notifications && document.hidden) {
    untold++;
    if (telling === undefined) tell(order);
    else latest = order;
  }
}

/** The first at once, those that come soon after it together. */
function tell(order: NewOrder): void {
  notify(order, untold);
  untold = 0;
  telling = setTimeout(() => {
    telling = undefined;
    if (untold > 0) tell(latest);
  }, NOTIFY_EVERY_MS);
}

function notify(order: NewOrder, count: number): void {
  const { language } = preferences();
  const title = count === 1 ? words(language).newOrder(order.order_number) : words(language).newOrders(count);
  const body = `${order.customer_name} · ${formatFor(language).money(order.total)}`;
  // One tag: tabs and bursts replace each other instead of piling up.
  const notification = new Notification(`🛒 ${title}`, { body, tag: "orderwire-new-order" });
  notification.onclick = () => {
    window.focus();
    notification.close();
  };
}

function chime(): void {
  audio ??= new AudioContext();
  if (audio.state === "running") return play(audio);
  if (waking) return; // a page that was not clicked yet is kept silent; what it missed must not sound all at once later
  waking = true;
  const sleeper = audio;
  addEventListener("pointerdown", () => void sleeper.resume(), { once: true });
  void audio.resume().then(() => {
    waking = false;
    play(sleeper);
  });
}

/** Two soft notes, a fifth apart. */
function play(context: AudioContext): void {
  for (const [index, hertz] of [659.25, 987.77].entries()) {
    const start = context.currentTime + index * 0.12;
    const tone = context.createOscillator();
    const volume = context.createGain();
    tone.frequency.value = hertz;
    volume.gain.setValueAtTime(0, start);
    volume.gain.linearRampToValueAtTime(0.12, start + 0.015);
    volume.gain.exponentialRampToValueAtTime(0.0001, start + 0.6);
    tone.connect(volume).connect(context.destination);
    tone.start(start);
    tone.stop(start + 0.65);
  }
}

/** From a click: a browser lets a page be heard only after one. */
export function switchSound(on: boolean): void {
  prefer({ sound: on });
  if (on) chime();
}

/** False when the browser says no. */
export async function switchNotifications(on: boolean): Promise<boolean> {
  const allowed = !on || (await Notification.requestPermission()) === "granted";
  prefer({ notifications: on && allowed });
  return allowed;
}

export const canNotify = "Notification" in globalThis;
