/** The sound and the notification of a new order. Of several tabs one plays, and one notifies, and only if none can be seen. */

import type { NewOrder } from "@orderwire/client";
import { formatFor } from "./format.ts";
import { translatorFor } from "./i18n.ts";
import { notificationPermission, requestNotificationPermission, showNotification } from "./notifications.ts";
import { getPreferences, setPreferences } from "./preferences.ts";
import { orderHref } from "./route.ts";
import { canPlay, chime } from "./sound.ts";
import { claim, isVisibleInAnyTab } from "./tabs.ts";

const MIN_SOUND_INTERVAL_MS = 1_000;
const MIN_NOTIFICATION_INTERVAL_MS = 3_000;

let lastSound = 0;
/** New orders since the last notification, oldest first. */
let pending: NewOrder[] = [];
let notificationTimer: ReturnType<typeof setTimeout> | undefined;

/** Plays a sound, and shows a notification if no tab can be seen, as far as the user has switched them on. */
export function alertNewOrder(order: NewOrder): void {
  if (getPreferences().sound && isSoundDue()) void playOnce(order);
  if (getPreferences().notifications && notificationPermission() === "granted" && document.hidden) {
    pending.push(order);
    if (notificationTimer === undefined) notifyPending();
  }
}

function isSoundDue(): boolean {
  if (Date.now() - lastSound < MIN_SOUND_INTERVAL_MS) return false;
  lastSound = Date.now();
  return true;
}

/** At most one sound per second, however often it is called. */
export function playSound(): void {
  if (isSoundDue()) chime();
}

/** A tab that the browser keeps silent leaves the sound to another one. */
async function playOnce(order: NewOrder): Promise<void> {
  if (!canPlay() || (await claim("sound", [order.id])) > 0) chime();
}

/** The first order is shown at once, those of the following interval in one notification. */
function notifyPending(): void {
  const orders = pending;
  pending = [];
  void notifyOnce(orders);
  notificationTimer = setTimeout(() => {
    notificationTimer = undefined;
    if (pending.length > 0) notifyPending();
  }, MIN_NOTIFICATION_INTERVAL_MS);
}

async function notifyOnce(orders: readonly NewOrder[]): Promise<void> {
  if (await isVisibleInAnyTab()) return; // there it is said by a toast
  const count = await claim("notification", orders.map(({ id }) => id));
  const order = orders.at(-1);
  if (count === 0 || order === undefined) return;
  const { language } = getPreferences();
  const t = translatorFor(language);
  const title = count === 1 ? t("newOrder", { orderNumber: order.order_number ?? order.key }) : t("newOrders", { count });
  await showNotification({
    title: `🛒 ${title}`,
    body: formatFor(language).summary(order),
    tag: "orderwire-new-order",
    href: orderHref(order.key),
  });
}

/** Must be called from a click handler: the sound that it plays makes the browser allow later ones. */
export function setSoundEnabled(enabled: boolean): void {
  setPreferences({ sound: enabled });
  if (enabled) chime();
}

/** Must be called from a click handler, since it asks the browser for permission if needed. */
export async function setNotificationsEnabled(enabled: boolean): Promise<void> {
  setPreferences({ notifications: enabled && (await requestNotificationPermission()) === "granted" });
}
