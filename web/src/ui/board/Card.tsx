import { memo, type PointerEvent } from "react";
import type { AgeLimits } from "../../preferences.ts";
import { orderHref } from "../../route.ts";
import type { Order } from "../../state/order-list.ts";
import type { StatusChange } from "../../state/status-change.ts";
import { Link } from "../Link.tsx";
import type { Texts } from "../use-texts.ts";
import css from "./board.module.css";
import { ageLevel, useAge } from "./use-age.ts";

interface Content {
  order: Order;
  limits: AgeLimits;
  texts: Texts;
}

interface Props extends Content {
  /** What the user has done to it, without an event yet. */
  change: StatusChange["state"] | undefined;
  /** The one card of the board that the Tab key leads to. */
  isCurrent: boolean;
  isGrabbed: boolean;
  onPointerDown: (event: PointerEvent, order: Order) => void;
  onFocus: (key: string) => void;
}

export const Card = memo(function Card({ change, isCurrent, isGrabbed, onPointerDown, onFocus, ...content }: Props) {
  const { order, texts } = content;
  const { t } = texts;
  const state = change === "unknown" ? t("outcomeUnknownShort") : change === undefined || change === "changed" ? null : t("changing");
  return (
    <li className={`${css.card} ${isGrabbed ? css.grabbed : ""}`} data-card={order.key} aria-busy={state !== null}>
      <Link
        href={orderHref(order.key)}
        draggable={false}
        tabIndex={isCurrent ? 0 : -1}
        aria-describedby="board-help"
        onPointerDown={(event) => onPointerDown(event, order)}
        onFocus={() => onFocus(order.key)}
      >
        <CardContent {...content} />
        {state !== null && <small className={css.state}>{state}</small>}
      </Link>
    </li>
  );
});

export function CardContent({ order, limits, texts: { format } }: Content) {
  const age = useAge(order.createdMs);
  return (
    <>
      <span className={css.number}>
        <bdi>{order.number}</bdi>
      </span>
      <span className={css.age} data-age={ageLevel(age, limits)}>
        {Number.isNaN(age) ? "" : format.duration(age)}
      </span>
      <span className={css.customer}>{order.customer ?? "–"}</span>
      <span className={css.amount}>{format.money(order.total, order.currency)}</span>
    </>
  );
}
