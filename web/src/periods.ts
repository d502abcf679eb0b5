/** The time spans that the chart can show: the values of the parameter `period` of `/api/series`. */
export const PERIODS = ["1h", "24h", "7d"] as const;

export type Period = (typeof PERIODS)[number];
