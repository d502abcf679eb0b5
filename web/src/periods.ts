/** The time spans that the chart can show, and the width of one column, in milliseconds. */
export const PERIODS = {
  "15m": { length: 15 * 60_000, step: 15_000 },
  "1h": { length: 60 * 60_000, step: 60_000 },
  "24h": { length: 24 * 3_600_000, step: 30 * 60_000 },
} as const;

export type Period = keyof typeof PERIODS;
