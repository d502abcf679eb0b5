import type { NewOrder } from "@orderwire/client";
import { formatFor } from "./format.ts";
import { translatorFor } from "./i18n.ts";
import { getPreferences, setPreferences } from "./preferences.ts";

const MIN_SOUND_INTERVAL_MS = 1_000;
const MIN_NOTIFICATION_INTERVAL_MS = 3_000;

let audio: AudioContext | undefined;
let resuming = false;
let lastSound = 0;
/** New orders since the last notification, and the newest of them. */
let pendingCount = 0;
let pendingOrder: NewOrder;
let notificationTimer: ReturnType<typeof setTimeout> | undefined;

/** Plays a sound, and shows a desktop notification if the tab is hidden, as far as the user has switched them on. */
export function alertNewOrder(order: NewOrder): void {
  if (getPreferences().sound) playSound();
  if (getPreferences().notifications && document.hidden) {
    pendingCount++;
    if (notificationTimer === undefined) notifyPending(order);
    else pendingOrder = order;
  }
}

/** The first order is shown at once, those of the following interval in one notification. */
function notifyPending(order: NewOrder): void {
  showNotification(order, pendingCount);
  pendingCount = 0;
  notificationTimer = setTimeout(() => {
    notificationTimer = undefined;
    if (pendingCount > 0) notifyPending(pendingOrder);
  }, MIN_NOTIFICATION_INTERVAL_MS);
}

function showNotification(order: NewOrder, count: number): void {
  const { language } = getPreferences();
  const t = translatorFor(language);
  const title = count === 1 ? t("newOrder", { orderNumber: order.order_number ?? order.key }) : t("newOrders", { count });
  const body = formatFor(language).summary(order);
  // With the same tag a notification replaces the previous one, also that of another tab.
  const notification = new Notification(`🛒 ${title}`, { body, tag: "orderwire-new-order" });
  notification.onclick = () => {
    window.focus();
    notification.close();
  };
}

/** At most one sound per second, however often it is called. */
export function playSound(): void {
  if (Date.now() - lastSound < MIN_SOUND_INTERVAL_MS) return;
  lastSound = Date.now();
  chime();
}

/** Whether the browser plays no sound because the user has not clicked, or pressed a key, on the page yet. */
export function isSoundBlocked(): boolean {
  return !(navigator.userActivation?.hasBeenActive ?? true);
}

/** Calls the listener when the browser begins to allow sound. Returns a function that unsubscribes. */
export function onSoundAllowed(listener: () => void): () => void {
  const abort = new AbortController();
  // The browser takes the event into account when its listeners have run.
  const onInput = () =>
    setTimeout(() => {
      if (abort.signal.aborted || isSoundBlocked()) return;
      abort.abort();
      listener();
    });
  for (const name of ["pointerup", "keydown"]) addEventListener(name, onInput, { signal: abort.signal });
  return () => abort.abort();
}

function chime(): void {
  audio ??= new AudioContext();
  if (audio.state === "running") return playTones(audio);
  // Browsers suspend audio until the user clicks. Play once then, however many sounds were due.
  if (resuming) return;
  resuming = true;
  const suspended = audio;
  addEventListener("pointerdown", () => void suspended.resume(), { once: true });
  void audio.resume().then(() => {
    resuming = false;
    playTones(suspended);
  });
}

/** Two notes, a fifth apart. */
function playTones(context: AudioContext): void {
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

/** Must be called from a click handler: the sound that it plays makes the browser allow later ones. */
export function setSoundEnabled(enabled: boolean): void {
  setPreferences({ sound: enabled });
  if (enabled) chime();
}

/** Asks the browser for permission if needed. Returns false if it is denied. */
export async function setNotificationsEnabled(enabled: boolean): Promise<boolean> {
  const allowed = !enabled || (await Notification.requestPermission()) === "granted";
  setPreferences({ notifications: enabled && allowed });
  return allowed;
}

export const notificationsSupported = "Notification" in globalThis;
