import { useLayoutEffect, useRef, type CSSProperties } from "react";
import { mainCurrency, useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import { fromUnits, scaleOf, toUnits } from "../money.ts";
import { mainRevenue, otherRevenue } from "../state/order-summary.ts";
import { useDashboard } from "./use-dashboard.ts";

const ANIMATION_MS = 600;
const MAX_OTHER_CURRENCIES = 4;

/** The totals as sent by the server, independent of the loaded orders. */
export function Totals() {
  const t = useTranslate();
  const format = useFormat();
  const totals = useDashboard((snapshot) => snapshot.totals);
  const pendingRatio = totals === null || totals.total_orders === 0 ? 0 : totals.pending_orders / totals.total_orders;
  const others = otherRevenue(totals?.revenue_by_currency, mainCurrency).map(([currency, amount]) => format.money(amount, currency));
  return (
    <dl className="totals">
      <Total name="orders" label={t("totalOrders")} value={totals && String(totals.total_orders)} format={format.count} />
      <Total
        name="revenue"
        label={t("totalRevenue")}
        value={totals && mainRevenue(totals, mainCurrency)}
        format={format.money}
        hint={others.slice(0, MAX_OTHER_CURRENCIES).join(" · ") + (others.length > MAX_OTHER_CURRENCIES ? " · …" : "")}
        title={others.join("\n")}
      />
      <Total
        name="pending"
        label={t("pendingOrders")}
        value={totals && String(totals.pending_orders)}
        format={format.count}
        hint={totals && t("percentOfOrders", { percent: format.percent(pendingRatio) })}
      />
    </dl>
  );
}

interface TotalProps {
  name: string;
  label: string;
  /** A decimal string. */
  value: string | null;
  format: (value: string) => string;
  hint?: string | null;
  /** The whole of the hint. */
  title?: string;
}

function Total({ name, label, value, format, hint, title }: TotalProps) {
  const characters = value === null ? 1 : format(value).length;
  return (
    <div className={`panel total ${name}`}>
      <dt>{label}</dt>
      <dd style={{ "--characters": characters } as CSSProperties}>
        {value === null ? <span className="placeholder">–</span> : <AnimatedNumber value={value} format={format} name={name} />}
        {hint && <small title={title}>{hint}</small>}
      </dd>
    </div>
  );
}

/** Counts up or down to a new value, with as many digits after the point as that has. */
function AnimatedNumber({ value, format, name }: { value: string; format: (value: string) => string; name: string }) {
  const element = useRef<HTMLSpanElement>(null);
  const displayed = useRef(value);
  useLayoutEffect(() => {
    const display = (next: string) => {
      displayed.current = next;
      if (element.current) element.current.textContent = format(next);
    };
    if (displayed.current === value || document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches) {
      display(value);
      return;
    }
    display(displayed.current); // the format may have changed with the language
    const scale = scaleOf(value);
    const from = toUnits(displayed.current, scale);
    const distance = toUnits(value, scale) - from;
    const start = performance.now();
    let frame = requestAnimationFrame(function step(now) {
      const progress = Math.min(1, Math.max(0, now - start) / ANIMATION_MS);
      const eased = BigInt(Math.round((1 - (1 - progress) ** 3) * 10_000));
      display(progress === 1 ? value : fromUnits(from + (distance * eased) / 10_000n, scale));
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
