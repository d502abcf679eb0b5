import type { Translate } from "./i18n.ts";

/** The statuses of the starter table. They have translations, and colours in base.css. */
const TRANSLATED = ["pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled"] as const;

type TranslatedStatus = (typeof TRANSLATED)[number];

/** The server cuts a status in an event to this length. */
const MAX_LENGTH = 100;
/** Turns by this angle, in degrees, are spread evenly, however many there are. */
const GOLDEN_ANGLE = 137.508;

/** A status as the dashboard compares and counts it: cut as in events, and "" for none. */
export function normalizedStatus(status: string | null): string {
  return status === null || status.length <= MAX_LENGTH ? (status ?? "") : Array.from(status).slice(0, MAX_LENGTH).join("");
}

function translatedStatus(status: string): TranslatedStatus | undefined {
  return TRANSLATED.find((name) => name === status.toLowerCase());
}

export function statusLabel(status: string, t: Translate): string {
  const name = translatedStatus(status);
  return name === undefined ? readableName(status) || t("noStatus") : t(`status.${name}`);
}

/** "UNFULFILLED" becomes "Unfulfilled", "sent_to_kitchen" and "sentToKitchen" become "Sent to kitchen". Of prose only the first letter changes. */
export function readableName(name: string): string {
  const text = name.trim();
  const isProse = /\s/.test(text) && text !== text.toUpperCase();
  const words = isProse ? text : text.replace(/(\p{Ll})(\p{Lu})/gu, "$1 $2").replace(/[_\s-]+/g, " ").trim().toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The class of a status, and the hue of one that has no colour in the style sheet. */
export interface StatusAppearance {
  className: string;
  /** In degrees. */
  hue?: number;
}

/**
 * The same for the same status everywhere and always. Those that the table's map lists, in `listed`, get hues that are far from each
 * other; that of any other status is a hash of it.
 */
export function statusAppearance(status: string, listed: readonly string[]): StatusAppearance {
  if (status === "") return { className: "no-status" };
  const name = translatedStatus(status);
  if (name !== undefined) return { className: name };
  const index = listed.indexOf(status);
  return { className: "other-status", hue: Math.round((index < 0 ? hash(status) : index * GOLDEN_ANGLE) % 360) };
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}
