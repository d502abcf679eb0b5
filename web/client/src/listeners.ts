type Listener<T extends unknown[]> = (...values: T) => void;

/** The listeners of one kind. The same function may be added more than once. */
export class Listeners<T extends unknown[]> {
  readonly #entries = new Set<{ listener: Listener<T> }>();

  /** Returns a function that unsubscribes. */
  add(listener: Listener<T>): () => void {
    const entry = { listener };
    this.#entries.add(entry);
    return () => void this.#entries.delete(entry);
  }

  emit(...values: T): void {
    for (const { listener } of [...this.#entries]) {
      try {
        listener(...values);
      } catch (error) {
        // Report the error as uncaught, and call the remaining listeners.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
