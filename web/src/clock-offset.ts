/** How far the server's clock is ahead of this one. Times are in milliseconds. */
export interface ClockOffset {
  readonly ms: number;
  /** The true offset differs by no more than this. */
  readonly errorMs: number;
}

const SAMPLES = 5;

/**
 * Asks the server for its time, several times, and takes the quickest answer: the server read its clock at some moment between the
 * request and the answer, so the middle of them is wrong by at most half of their distance. `ask` resolves to RFC 3339.
 */
export async function measureClockOffset(ask: () => Promise<string>, now: () => number = Date.now): Promise<ClockOffset> {
  let best: ClockOffset = { ms: 0, errorMs: Infinity };
  for (let sample = 0; sample < SAMPLES; sample++) {
    const asked = now();
    const server = Date.parse(await ask());
    const answered = now();
    const errorMs = (answered - asked) / 2;
    if (errorMs < best.errorMs) best = { ms: server - (asked + answered) / 2, errorMs };
  }
  return best;
}

/** How long ago, by this clock's `now`, it was `at` (RFC 3339) by the server's clock. Not less than 0: the clocks' error may exceed it. */
export function elapsedSince(at: string, now: number, offset: ClockOffset): number {
  return Math.max(0, now + offset.ms - Date.parse(at));
}
