import { useLayoutEffect, useRef, type CSSProperties } from "react";
import { useFormat } from "../format.ts";
import { fromCents, toCents } from "../money.ts";
import { useWords } from "../words.ts";
import { useView } from "./use-live.ts";

const TWEEN_MS = 600;

/** The three totals. They are the server's; nothing is counted here. */
export function Totals() {
  const words = useWords();
  const format = useFormat();
  const totals = useView((view) => view.totals);
  const share = totals === null || totals.total_orders === 0 ? 0 : totals.pending_orders / totals.total_orders;
  return (
    <dl className="totals">
      <Total name="orders" label={words.totalOrders} value={totals && BigInt(totals.total_orders)} draw={format.count} />
      <Total
        name="revenue"
        label={words.totalRevenue}
        value={totals && toCents(totals.total_revenue)}
        draw={(cents) => format.money(fromCents(cents))}
      />
      <Total
        name="pending"
        label={words.pendingOrders}
        value={totals && BigInt(totals.pending_orders)}
        draw={format.count}
        hint={totals && words.ofAll(format.percent(share))}
      />
    </dl>
  );
}

interface TotalProps {
  name: string;
  label: string;
  value: bigint | null;
  draw: (value: bigint) => string;
  hint?: string | null;
}

function Total({ name, label, value, draw, hint }: TotalProps) {
  const characters = value === null ? 1 : draw(value).length;
  return (
    <div className={`panel total ${name}`}>
      <dt>{label}</dt>
      <dd style={{ "--characters": characters } as CSSProperties}>
        {value === null ? <span className="unknown">–</span> : <Changing value={value} draw={draw} name={name} />}
        {hint && <small>{hint}</small>}
      </dd>
    </div>
  );
}

/** Goes to a new value by steps that the eye can follow. Every step is a whole number, the last one the value itself. */
function Changing({ value, draw, name }: { value: bigint; draw: (value: bigint) => string; name: string }) {
  const element = useRef<HTMLSpanElement>(null);
  const shown = useRef(value);
  useLayoutEffect(() => {
    const show = (next: bigint) => {
      shown.current = next;
      if (element.current) element.current.textContent = draw(next);
    };
    const from = shown.current;
    if (from === value || document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches) {
      show(value);
      return;
    }
    show(from); // the language may have changed
    const start = performance.now();
    let frame = requestAnimationFrame(function step(now) {
      const part = Math.min(1, Math.max(0, now - start) / TWEEN_MS);
      const eased = BigInt(Math.round((1 - (1 - part) ** 3) * 10_000));
      show(part === 1 ? value : from + ((value - from) * eased) / 10_000n);
      if (part < 1) frame = requestAnimationFrame(step);
    });
    // A tab that is hidden half way draws no frames: whoever comes back sees the value, not the way to it.
    const onHidden = () => document.hidden && show(value);
    document.addEventListener("visibilitychange", onHidden);
    return () => {
      cancelAnimationFrame(frame);
      document.removeEventListener("visibilitychange", onHidden);
    };
  }, [value, draw]);
  return <span ref={element} className="number" data-total={name} />;
}
