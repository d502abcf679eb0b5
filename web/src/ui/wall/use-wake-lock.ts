import { useEffect } from "react";

/** Keeps the screen on while the page can be seen. The browser lets go of it whenever the page is hidden. */
export function useWakeLock(): void {
  useEffect(() => {
    let lock: WakeLockSentinel | undefined;
    let unmounted = false;
    const acquire = async () => {
      if (document.hidden || (lock !== undefined && !lock.released)) return;
      try {
        lock = await navigator.wakeLock?.request("screen");
        if (unmounted) await lock?.release();
      } catch {
        // Low battery, or the browser does not allow it. It is asked for again when the page becomes visible.
      }
    };
    void acquire();
    document.addEventListener("visibilitychange", acquire);
    return () => {
      unmounted = true;
      document.removeEventListener("visibilitychange", acquire);
      void lock?.release();
    };
  }, []);
}
