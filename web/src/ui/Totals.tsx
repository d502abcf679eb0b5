import { useLayoutEffect, useRef, type CSSProperties } from "react";
import { useFormat } from "../format.ts";
import { useTranslations } from "../i18n.ts";
import { fromCents, toCents } from "../money.ts";
import { useDashboard } from "./use-dashboard.ts";

const ANIMATION_MS = 600;

/** The totals as sent by the server, independent of the loaded orders. */
export function Totals() {
  const t = useTranslations();
  const format = useFormat();
  const totals = useDashboard((snapshot) => snapshot.totals);
  const pendingRatio = totals === null || totals.total_orders === 0 ? 0 : totals.pending_orders / totals.total_orders;
  return (
    <dl className="totals">
      <Total name="orders" label={t.totalOrders} value={totals && BigInt(totals.total_orders)} format={format.count} />
      <Total
        name="revenue"
        label={t.totalRevenue}
        value={totals && toCents(totals.total_revenue)}
        format={(cents) => format.money(fromCents(cents))}
      />
      <Total
        name="pending"
        label={t.pendingOrders}
        value={totals && BigInt(totals.pending_orders)}
        format={format.count}
        hint={totals && t.percentOfOrders(format.percent(pendingRatio))}
      />
    </dl>
  );
}

interface TotalProps {
  name: string;
  label: string;
  value: bigint | null;
  format: (value: bigint) => string;
  hint?: string | null;
}

function Total({ name, label, value, format, hint }: TotalProps) {
  const characters = value === null ? 1 : format(value).length;
  return (
    <div className={`panel total ${name}`}>
      <dt>{label}</dt>
      <dd style={{ "--characters": characters } as CSSProperties}>
        {value === null ? <span className="placeholder">–</span> : <AnimatedNumber value={value} format={format} name={name} />}
        {hint && <small>{hint}</small>}
      </dd>
    </div>
  );
}

/** Counts up or down to a new value, in whole numbers. */
function AnimatedNumber({ value, format, name }: { value: bigint; format: (value: bigint) => string; name: string }) {
  const element = useRef<HTMLSpanElement>(null);
  const displayed = useRef(value);
  useLayoutEffect(() => {
    const display = (next: bigint) => {
      displayed.current = next;
      if (element.current) element.current.textContent = format(next);
    };
    const from = displayed.current;
    if (from === value || document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches) {
      display(value);
      return;
    }
    display(from); // the format may have changed with the language
    const start = performance.now();
    let frame = requestAnimationFrame(function step(now) {
      const progress = Math.min(1, Math.max(0, now - start) / ANIMATION_MS);
      const eased = BigInt(Math.round((1 - (1 - progress) ** 3) * 10_000));
      display(progress === 1 ? value : from + ((value - from) * eased) / 10_000n);
      if (progress < 1) frame = requestAnimationFrame(step);
    });
    // Browsers call no animation frames in a hidden tab: skip to the final value.
    const onHidden = () => document.hidden && display(value);
    document.addEventListener("visibilitychange", onHidden);
    return () => {
      cancelAnimationFrame(frame);
      document.removeEventListener("visibilitychange", onHidden);
    };
  }, [value, format]);
  return <span ref={element} className="number" data-total={name} />;
}
