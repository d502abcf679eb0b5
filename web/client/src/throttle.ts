/** Returns a function that runs `callback` asynchronously, at most once per `intervalMs`, however often it is called. */
export function throttle(callback: () => void, intervalMs = 50): () => void {
  let lastRun = -Infinity;
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    setTimeout(
      () => {
        scheduled = false;
        lastRun = performance.now();
        callback();
      },
      Math.max(0, lastRun + intervalMs - performance.now()),
    );
  };
}
