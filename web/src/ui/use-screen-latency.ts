import type { NewOrder } from "@orderwire/client";
import { useEffect, useRef, useState } from "react";
import { api } from "../api.ts";
import { elapsedSince, measureClockOffset, type ClockOffset } from "../clock-offset.ts";
import { useConnectionStatus } from "./use-connection-status.ts";

export interface ScreenLatency {
  /** From the statement in the database to the painted screen, in milliseconds. */
  readonly ms: number;
  readonly errorMs: number;
}

/** Clocks drift by some milliseconds in this time. */
const OFFSET_LIFETIME_MS = 10 * 60_000;
/** What took longer was not delivered live. */
const MAX_LATENCY_MS = 30_000;

let offset: { measured: Promise<ClockOffset>; at: number } | undefined;

function clockOffset(): Promise<ClockOffset> {
  if (offset === undefined || Date.now() - offset.at > OFFSET_LIFETIME_MS) {
    const measured = measureClockOffset(async () => (await api.analytics()).as_of);
    offset = { measured, at: Date.now() };
    measured.catch(() => (offset = undefined));
  }
  return offset.measured;
}

/** How long the newest order took to this screen; null until it is known. It is measured once for each order, at its first paint. */
export function useScreenLatency(order: NewOrder | null): ScreenLatency | null {
  const status = useConnectionStatus();
  const live = status.state === "online" && status.live;
  const [measured, setMeasured] = useState<{ id: string; latency: ScreenLatency } | null>(null);
  const mountedWith = useRef(order?.id);
  useEffect(() => {
    // While the user does something else: the first order is not to wait for it.
    if (live) void clockOffset().catch(() => undefined);
  }, [live]);
  useEffect(() => {
    if (order === null || order.id === mountedWith.current || document.hidden) return;
    let current = true;
    const onPaint = async () => {
      const now = Date.now();
      const known = await clockOffset();
      const ms = elapsedSince(order.at, now, known);
      if (current) setMeasured(ms > MAX_LATENCY_MS ? null : { id: order.id, latency: { ms, errorMs: known.errorMs } });
    };
    // The timer that a frame sets runs after that frame is painted.
    requestAnimationFrame(() => setTimeout(() => void onPaint().catch(() => undefined)));
    return () => {
      current = false;
    };
    // oxlint-disable-next-line react/exhaustive-deps -- once for each order, which is another object with each of its changes
  }, [order?.id]);
  return measured !== null && measured.id === order?.id ? measured.latency : null;
}
