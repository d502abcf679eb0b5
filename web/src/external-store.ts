/** A store for React's `useSyncExternalStore`. Its snapshots are immutable; listeners are called for each new one. */
export abstract class ExternalStore<Snapshot extends object> {
  readonly #listeners = new Set<() => void>();
  protected abstract snapshot: Snapshot;

  // Arrow functions, since React calls them without `this`.
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
  readonly getSnapshot = (): Snapshot => this.snapshot;

  protected update(change: Partial<Snapshot>): void {
    this.snapshot = { ...this.snapshot, ...change };
    this.publish();
  }

  /** A listener may unsubscribe others. */
  protected publish(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
