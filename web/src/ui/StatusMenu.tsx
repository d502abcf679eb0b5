import { useEffect, type ReactNode } from "react";
import { useTranslate } from "../i18n.ts";
import type { ChangedOrder } from "../state/status-change.ts";
import { choosableStatuses, isAllowed } from "../state/status-rules.ts";
import { Modal } from "./Modal.tsx";
import { StatusBadge } from "./StatusBadge.tsx";
import css from "./status-menu.module.css";
import { useDashboard, useDashboardStore } from "./use-dashboard.ts";
import { useStatusChanges, useWriteBlock } from "./use-status-changes.ts";

/** A digit chooses one of the first nine. */
const MAX_DIGIT = 9;

/** A dialog in which to choose the next status of one or several orders, with a click or with a digit. */
export function StatusMenu({ orders: given, onClose }: { orders: readonly ChangedOrder[]; onClose: () => void }) {
  const t = useTranslate();
  const store = useDashboardStore();
  const meta = useDashboard((snapshot) => snapshot.meta);
  const block = useWriteBlock();
  const { changes } = useStatusChanges();
  const orders = given.map((order) => ({ ...order, status: changes.get(order.key)?.to ?? order.status }));
  const choices = choosableStatuses(meta).map((status) => ({
    status,
    orders: block === null ? orders.filter((order) => isAllowed(meta, order.status, status)) : [],
    already: orders.filter((order) => order.status === status),
  }));
  const choose = (choice: (typeof choices)[number]) => {
    if (choice.orders.length === 0) return;
    onClose();
    void store.statusChanges.change([...choice.orders, ...choice.already], choice.status);
  };

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const choice = /^[1-9]$/.test(event.key) ? choices[Number(event.key) - 1] : undefined;
      if (choice === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      choose(choice);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });

  const title = orders.length === 1 ? t("statusOf", { orderNumber: orders[0]?.number ?? "" }) : t("statusOfOrders", { count: orders.length });
  const note = (status: string, allowed: number): ReactNode => {
    if (allowed === 0) return orders.every((order) => order.status === status) ? t("hasThisStatus") : block === null ? t("notAllowedNext") : null;
    return allowed < orders.length ? t("nOfMOrders", { n: allowed, m: orders.length }) : null;
  };
  return (
    <Modal title={title} onClose={onClose}>
      {block !== null && <p className={css.block}>{block}</p>}
      <ol className={css.menu}>
        {choices.map((choice, index) => (
          <li key={choice.status}>
            <button type="button" disabled={choice.orders.length === 0} data-status={choice.status} onClick={() => choose(choice)}>
              {index < MAX_DIGIT ? <kbd aria-hidden="true">{index + 1}</kbd> : <span />}
              <StatusBadge status={choice.status} />
              <small>{note(choice.status, choice.orders.length)}</small>
            </button>
          </li>
        ))}
      </ol>
    </Modal>
  );
}
