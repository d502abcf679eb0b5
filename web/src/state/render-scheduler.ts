const MIN_INTERVAL_MS = 100;
/** Renders take at most one n-th of the main thread's time, so that scrolling and typing stay smooth. */
const INTERVAL_RATIO = 5;

/** Calls `render` in an animation frame, at a limited rate. */
export class RenderScheduler {
  readonly #render: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #frame: number | undefined;
  #nextAt = 0;

  constructor(render: () => void) {
    this.#render = render;
  }

  /** Render when the interval since the last render is over. */
  schedule(): void {
    if (this.#timer !== undefined || this.#frame !== undefined) return;
    this.#timer = setTimeout(() => this.scheduleNow(), Math.max(0, this.#nextAt - performance.now()));
  }

  /** Render in the next frame: for what the server limits the rate of. */
  scheduleNow(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // Browsers call no animation frames in a hidden tab: it renders when it becomes visible.
    this.#frame ??= requestAnimationFrame(() => this.#run());
  }

  #run(): void {
    const start = performance.now();
    this.#frame = undefined;
    this.#render();
    this.#nextAt = start + MIN_INTERVAL_MS;
    // React renders in a microtask, so this timer runs after it and measures its time.
    setTimeout(() => {
      this.#nextAt = start + Math.max(MIN_INTERVAL_MS, INTERVAL_RATIO * (performance.now() - start));
    });
  }
}
