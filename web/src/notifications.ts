/** Desktop notifications: what the browser allows, and how one is shown. */

import { useSyncExternalStore } from "react";
import { navigate } from "./route.ts";

/** "unsupported": this browser has none, or none for this page, as on iOS before the page is installed. */
export type Permission = NotificationPermission | "unsupported";

const listeners = new Set<() => void>();
let watching = false;

export function notificationPermission(): Permission {
  return "Notification" in globalThis ? Notification.permission : "unsupported";
}

/** The permission as it is now: the user may change it in the browser's settings while the page is open. */
export function useNotificationPermission(): Permission {
  return useSyncExternalStore(subscribe, notificationPermission);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  if (!watching) void watchPermission();
  return () => void listeners.delete(listener);
}

async function watchPermission(): Promise<void> {
  watching = true;
  // Browsers that do not report the change let the user make it in another tab or window.
  document.addEventListener("visibilitychange", emit);
  addEventListener("focus", emit);
  try {
    (await navigator.permissions.query({ name: "notifications" })).addEventListener("change", emit);
  } catch {
    // The browser does not know this permission, or the page is not secure.
  }
}

function emit(): void {
  for (const listener of [...listeners]) listener();
}

/** Asks the browser if the user has not answered before. */
export async function requestNotificationPermission(): Promise<Permission> {
  if (notificationPermission() === "default") await Notification.requestPermission();
  emit();
  return notificationPermission();
}

export interface Notice {
  title: string;
  body: string;
  /** It replaces the previous one with the same tag, also that of another tab. */
  tag: string;
  /** The address of the page that a click opens. */
  href: string;
}

/** To be called only while the permission is "granted". */
export async function showNotification({ title, body, tag, href }: Notice): Promise<void> {
  try {
    const notification = new Notification(title, { body, tag });
    notification.onclick = () => {
      window.focus();
      navigate(href);
      notification.close();
    };
  } catch {
    // Android: only a service worker may show one. Its click is handled in worker/worker.ts.
    const registration = await navigator.serviceWorker?.ready;
    await registration?.showNotification(title, { body, tag, data: { href } });
  }
}
