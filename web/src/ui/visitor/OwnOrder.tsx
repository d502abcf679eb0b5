import { useFormat } from "../../format.ts";
import { useTranslate } from "../../i18n.ts";
import type { Order } from "../../state/order-list.ts";
import { progressOf } from "../../state/progress.ts";
import { statusLabel } from "../../status.ts";
import { EventItem } from "../EventItem.tsx";
import { useOrderDetail } from "../order/use-order-detail.ts";
import { StatusBadge } from "../StatusBadge.tsx";
import { useDashboard } from "../use-dashboard.ts";
import { useTexts } from "../use-texts.ts";
import styles from "./Visitor.module.css";

interface Props {
  order: Order;
  /** Whether its history is shown. */
  open: boolean;
  onToggle: (open: boolean) => void;
}

export function OwnOrder({ order, open, onToggle }: Props) {
  const t = useTranslate();
  const format = useFormat();
  return (
    <li id={`order-${order.key}`} className={`panel ${styles.order}`} data-order={order.key}>
      <header>
        <h3>{t("visitor.orderTitle", { orderNumber: order.number })}</h3>
        <StatusBadge status={order.status} />
        <p>
          {format.money(order.total, order.currency)} · {format.dateTime(order.createdAt)}
        </p>
      </header>
      <Steps status={order.status} />
      <button type="button" className={`secondary ${styles.toggle}`} aria-expanded={open} onClick={() => onToggle(!open)}>
        {t("visitor.history")}
      </button>
      {open && <History orderKey={order.key} />}
    </li>
  );
}

/** The statuses on the way of an order, as steps. None for an order that is not on that way, such as a cancelled one. */
function Steps({ status }: { status: string }) {
  const t = useTranslate();
  const meta = useDashboard((snapshot) => snapshot.meta);
  const steps = progressOf(status, meta.statuses, meta.cancelled);
  if (steps === null) return null;
  return (
    <ol className={styles.steps} aria-label={t("visitor.progress")}>
      {steps.map((step) => (
        <li key={step.status} data-state={step.state} aria-current={step.state === "current" ? "step" : undefined}>
          {statusLabel(step.status, t)}
        </li>
      ))}
    </ol>
  );
}

function History({ orderKey }: { orderKey: string }) {
  const t = useTranslate();
  const texts = useTexts();
  const { state, events } = useOrderDetail(orderKey);
  if (state === "failed") return <p role="alert">{t("visitor.historyFailed")}</p>;
  if (events.length === 0) return <p>{t(state === "loading" ? "loading" : "visitor.noHistory")}</p>;
  return (
    <ol className="event-list">
      {events.map((event) => (
        <EventItem key={event.id} event={event} texts={texts} />
      ))}
    </ol>
  );
}
