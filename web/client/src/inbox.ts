/** More than a resume can replay at once, with room for what comes live meanwhile. */
const REMEMBERED = 20_000;

/** What has been received: drops twins, and knows where to resume. */
export class Inbox {
  #cursor: string | undefined;
  readonly #seen = new Set<string>();

  constructor(cursor?: string) {
    if (cursor !== undefined) this.moveTo(cursor);
  }

  get cursor(): string | undefined {
    return this.#cursor;
  }

  /** Whether the event is new. Either way the stream has come as far as this. */
  accept(id: string): boolean {
    this.#cursor = id;
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value as string);
    return true;
  }

  /** The position is known without an event. */
  moveTo(cursor: string): void {
    this.accept(cursor);
  }

  /** The cursor has lost its meaning. */
  forget(): void {
    this.#cursor = undefined;
  }

  /** Whether a replay that starts at this cursor leaves nothing out here. */
  covers(cursor: string): boolean {
    return this.#seen.has(cursor);
  }
}
