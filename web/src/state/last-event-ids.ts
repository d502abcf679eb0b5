/** So many ids at least are kept, and less than twice as many. */
const MIN_IDS = 5_000;

/**
 * The last event of each order, of those that were set last. Two generations, of which the older one is dropped as a whole: a `Map` from
 * which the oldest entry is deleted for each new one is searched through its deleted entries each time.
 */
export class LastEventIds {
  #young = new Map<string, string>();
  #old: ReadonlyMap<string, string> = new Map();

  get(key: string): string | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  set(key: string, eventId: string): void {
    this.#young.set(key, eventId);
    if (this.#young.size < MIN_IDS) return;
    this.#old = this.#young;
    this.#young = new Map();
  }

  clear(): void {
    this.#young = new Map();
    this.#old = new Map();
  }
}
