import { useEffect, useRef, type CSSProperties } from "react";
import { mainCurrency, useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import { mainRevenue, otherRevenue } from "../state/order-summary.ts";
import { highlight } from "./highlight.ts";
import { useDashboard } from "./use-dashboard.ts";

const HIGHLIGHT_MS = 300;
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
        {value === null ? <span className="placeholder">–</span> : <LiveNumber value={value} format={format} name={name} />}
        {hint && <small title={title}>{hint}</small>}
      </dd>
    </div>
  );
}

/** The value, always the present one. A change lights up once, and again only when it has ended: it never shows other digits. */
function LiveNumber({ value, format, name }: { value: string; format: (value: string) => string; name: string }) {
  const element = useRef<HTMLSpanElement>(null);
  const previous = useRef(value);
  const running = useRef<Animation>(undefined);
  useEffect(() => {
    const changed = previous.current !== value;
    previous.current = value;
    if (!changed || running.current?.playState === "running") return;
    running.current = highlight(element.current, HIGHLIGHT_MS);
  }, [value]);
  return (
    <bdi ref={element} className="number" data-total={name}>
      {format(value)}
    </bdi>
  );
}
