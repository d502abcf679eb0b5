/**
 * The letter of a pressed key on a keyboard with Latin letters. On another one, such as a Russian one, the letter that is at the same
 * place of an English keyboard: otherwise the page's keys would not work there. Other keys have their own name.
 */
export function latinKey({ key, code }: Pick<KeyboardEvent, "key" | "code">): string {
  if (key.length !== 1 || key <= "\u007f") return key.length === 1 ? key.toLowerCase() : key;
  return /^Key[A-Z]$/.test(code) ? code.slice(3).toLowerCase() : key;
}

/** Whether a key is for the page: pressed without a modifier, and not in a field or a dialog. */
export function isPageKey(event: KeyboardEvent): boolean {
  const target = event.target as Element | null;
  const isTyping = target?.closest?.("input:not([type=checkbox]), select, textarea, dialog[open]") ?? null;
  return !event.defaultPrevented && !event.ctrlKey && !event.metaKey && !event.altKey && isTyping === null;
}
