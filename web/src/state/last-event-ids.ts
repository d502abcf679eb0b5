import { isNewer } from "@orderwire/client";

/** More orders than a list shows, so that an event of one that it has evicted is known, too. */
const MAX_IDS = 40_000;

/** The last event of each order. Bounded: the entry that was set longest ago goes first. */
export class LastEventIds {
  readonly #ids = new Map<string, string>();

  get(key: string): string | undefined {
    return this.#ids.get(key);
  }

  isNewer(key: string, eventId: string): boolean {
    return isNewer(eventId, this.#ids.get(key));
  }

  set(key: string, eventId: string): void {
    this.#ids.delete(key); // moves the entry to the end
    this.#ids.set(key, eventId);
    const [oldest] = this.#ids.size > MAX_IDS ? this.#ids.keys() : [];
    if (oldest !== undefined) this.#ids.delete(oldest);
  }

  clear(): void {
    this.#ids.clear();
  }
}
