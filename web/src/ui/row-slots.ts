/**
 * Gives React keys to the rows of a list. A row has the same key as long as it is shown, so that its element moves with it. But when more
 * than half of the rows are others than before, as under load, keys go by place: React then changes the texts of the elements that there
 * are, which costs a fraction of making new ones.
 */
export class RowSlots {
  #slots: ReadonlyMap<string, number> = new Map();
  #next = 0;

  /** `ids`: of all rows, in their order, without duplicates. Returns the key of each. The same ids get the same keys again. */
  assign(ids: readonly string[]): readonly number[] {
    const before = [...this.#slots.values()];
    const kept = ids.filter((id) => this.#slots.has(id)).length;
    const byPlace = kept < ids.length / 2;
    this.#slots = new Map(ids.map((id, place) => [id, (byPlace ? before[place] : this.#slots.get(id)) ?? this.#next++]));
    return [...this.#slots.values()];
  }
}
