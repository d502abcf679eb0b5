/** More than the server replays for one resume, plus the live events that arrive during the replay. */
const MAX_IDS = 15_000;

/** The ids of received events, to drop duplicates, and the cursor to resume from. */
export class ReceivedEvents {
  #cursor: string | undefined;
  readonly #ids = new Set<string>();
  /** The same ids as a ring: to look up the oldest of a `Set`, it is searched through the entries deleted before. */
  readonly #ring: string[] = [];
  #oldest = 0;

  constructor(cursor?: string) {
    if (cursor !== undefined) this.moveCursor(cursor);
  }

  get cursor(): string | undefined {
    return this.#cursor;
  }

  /** Returns false for a duplicate. Moves the cursor in both cases. */
  add(id: string): boolean {
    this.#cursor = id;
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    if (this.#ring.length === MAX_IDS) this.#ids.delete(this.#ring[this.#oldest] as string);
    this.#ring[this.#oldest] = id;
    this.#oldest = (this.#oldest + 1) % MAX_IDS;
    return true;
  }

  /** For a cursor that comes without an event. */
  moveCursor(cursor: string): void {
    this.add(cursor);
  }

  /** Called when the server cannot resume from the cursor. */
  clearCursor(): void {
    this.#cursor = undefined;
  }

  /** If true, a replay that starts at this cursor leaves no gap. */
  includes(cursor: string): boolean {
    return this.#ids.has(cursor);
  }
}
