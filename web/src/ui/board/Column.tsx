import { memo, useState, type CSSProperties, type PointerEvent } from "react";
import type { AgeLimits } from "../../preferences.ts";
import type { BoardColumn } from "../../state/board.ts";
import type { Order } from "../../state/order-list.ts";
import type { StatusChange } from "../../state/status-change.ts";
import { statusLabel } from "../../status.ts";
import type { Texts } from "../use-texts.ts";
import css from "./board.module.css";
import { Card } from "./Card.tsx";

interface Props {
  status: string;
  column: BoardColumn;
  /** The number of orders with the status, if the server has said it. */
  total: number | undefined;
  changes: ReadonlyMap<string, StatusChange>;
  /** While a card is being moved: whether it may be dropped here. */
  drop: "allowed" | "forbidden" | "over" | null;
  currentKey: string | null;
  grabbedKey: string | null;
  onPointerDown: (event: PointerEvent, order: Order) => void;
  onFocus: (key: string) => void;
  limits: AgeLimits;
  texts: Texts;
}

/** Drawn of a column that is not scrolled: more than fit on a screen of 2160 pixels. */
const FIRST_CARDS = 32;

export const Column = memo(function Column({ status, column, total, changes, drop, currentKey, grabbedKey, ...ofCards }: Props) {
  const { t, format } = ofCards.texts;
  const appearance = ofCards.texts.appearance(status);
  const [isScrolled, setScrolled] = useState(false);
  const id = `column-${status}`.replace(/\s/g, "_");
  const { cards, isComplete } = column;
  const count = isComplete ? column.count : Math.max(total ?? 0, column.count);
  const isWhole = isScrolled || cards.findIndex(({ key }) => key === currentKey) >= FIRST_CARDS;
  const drawn = isWhole ? cards : cards.slice(0, FIRST_CARDS);
  return (
    <section
      className={`${css.column} ${appearance.className}`}
      style={appearance.style}
      aria-labelledby={id}
      data-column={status}
      data-drop={drop ?? undefined}
    >
      <header className={css.columnHead}>
        <h3 id={id}>{statusLabel(status, t)}</h3>
        <span className={css.count} data-count={status}>
          {!isComplete && total === undefined ? t("atLeast", { count }) : format.count(count)}
        </span>
        {drop === "forbidden" && <small className={css.forbidden}>{t("cannotDrop")}</small>}
      </header>
      <ul className={css.cards} onScroll={({ currentTarget }) => setScrolled(currentTarget.scrollTop > 0)}>
        {drawn.map((order) => (
          <Card
            key={order.key}
            order={order}
            change={changes.get(order.key)?.state}
            isCurrent={order.key === currentKey}
            isGrabbed={order.key === grabbedKey}
            {...ofCards}
          />
        ))}
        {drawn.length < cards.length && (
          <li className={css.undrawn} aria-hidden="true" style={{ "--cards": cards.length - drawn.length } as CSSProperties} />
        )}
        {count > cards.length && <li className={css.rest}>{t("newestCards", { count: cards.length })}</li>}
      </ul>
      {cards.length === 0 && <p className={css.empty}>{t("noCards")}</p>}
    </section>
  );
});
