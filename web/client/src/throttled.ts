/** Calls that come close together become one: it runs soon, and at most once in `everyMs`. */
export function throttled(run: () => void, everyMs = 50): () => void {
  let last = -Infinity;
  let due = false;
  return () => {
    if (due) return;
    due = true;
    setTimeout(
      () => {
        due = false;
        last = performance.now();
        run();
      },
      Math.max(0, last + everyMs - performance.now()),
    );
  };
}
