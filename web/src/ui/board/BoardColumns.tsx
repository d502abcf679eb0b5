import { useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type RefObject } from "react";
import { flushSync } from "react-dom";
import { isPageKey, latinKey } from "../../keys.ts";
import { DEFAULT_LIMITS, usePreferences } from "../../preferences.ts";
import { withChanges, type Board, type BoardColumn } from "../../state/board.ts";
import type { Order } from "../../state/order-list.ts";
import type { StatusChange } from "../../state/status-change.ts";
import { isAllowed } from "../../state/status-rules.ts";
import { statusLabel } from "../../status.ts";
import { StatusMenu } from "../StatusMenu.tsx";
import { useDashboard, useDashboardStore } from "../use-dashboard.ts";
import { useStatusChanges, useWriteBlock } from "../use-status-changes.ts";
import { useTexts } from "../use-texts.ts";
import { cardBeside, nextTarget } from "./board-keys.ts";
import css from "./board.module.css";
import { CardContent } from "./Card.tsx";
import { Column } from "./Column.tsx";
import { useCardDrag } from "./use-card-drag.ts";
import { useFrozen } from "./use-frozen.ts";

interface Props {
  /** All statuses, in their order. */
  statuses: readonly string[];
  /** Those with a column. */
  visible: readonly string[];
  board: Board;
  /** Changes when the board may have changed. */
  version: string;
  isBusy: boolean;
  /** Called when a card begins to be moved, and when that ends. */
  onMoving: (isMoving: boolean) => void;
}

/** A card that is being moved with the keyboard. */
interface Grab {
  order: Order;
  target: string;
}

interface ShownColumn {
  status: string;
  column: BoardColumn;
}

export function BoardColumns({ statuses, visible, board, version, isBusy, onMoving }: Props) {
  const texts = useTexts();
  const { t } = texts;
  const { limits } = usePreferences().board;
  const store = useDashboardStore();
  const meta = useDashboard((snapshot) => snapshot.meta);
  const totals = useDashboard((snapshot) => snapshot.series?.statuses);
  const { changes } = useStatusChanges();
  const block = useWriteBlock();
  const [focusedKey, setFocusedKey] = useState<string | null>(null);
  const [grab, setGrab] = useState<Grab | null>(null);
  const [menuOrder, setMenuOrder] = useState<Order | null>(null);
  const [announcement, announce] = useState("");

  const liveColumns = useMemo((): ShownColumn[] => {
    const moved = [...changes.values()].flatMap((change) => movedOrder(board, change) ?? []);
    return visible.map((status) => ({ status, column: withChanges(status, board.column(status), moved) }));
    // oxlint-disable-next-line react/exhaustive-deps -- the board is the same object; each change of it has another version
  }, [board, version, visible, changes]);

  const canDrop = (order: Order, status: string) => block === null && !isPending(changes.get(order.key)) && isAllowed(meta, order.status, status);
  const drop = (order: Order, status: string) => {
    announce(t("movedTo", { orderNumber: order.number, status: statusLabel(status, t) }));
    void store.statusChanges.change([order], status);
  };
  const { drag, ghostRef, boardRef, onPointerDown } = useCardDrag({ canDrop, onDrop: drop });
  const moving = drag?.order ?? grab?.order ?? null;
  // Nothing moves below the pointer: what comes during the move is shown after it.
  const isMoving = moving !== null;
  const columns = useFrozen(liveColumns, isMoving);
  useLayoutEffect(() => onMoving(isMoving), [onMoving, isMoving]);
  const shownColumns = columns.map(({ status, column }) => ({ status, cards: column.cards }));
  useRestoredFocus(boardRef, focusedKey, columns);

  const over = drag?.over ?? grab?.target ?? null;
  const dropState = (status: string) => {
    if (moving === null || status === moving.status) return null;
    if (!canDrop(moving, status)) return "forbidden";
    return status === over ? "over" : "allowed";
  };
  // While a card is moved, statuses without a column take it too.
  const withColumn = columns.map(({ status }) => status);
  const extra = moving === null ? [] : statuses.filter((status) => !withColumn.includes(status) && canDrop(moving, status));
  const targets = [...withColumn, ...extra];

  const onGrabKey = (event: KeyboardEvent, { order, target }: Grab) => {
    const isRtl = getComputedStyle(event.currentTarget).direction === "rtl";
    if (event.key === "Escape") {
      setGrab(null);
      announce(t("moveCancelled", { orderNumber: order.number }));
    } else if (event.key === " " || event.key === "Enter") {
      setGrab(null);
      if (target === order.status) announce(t("moveCancelled", { orderNumber: order.number }));
      else drop(order, target);
    } else {
      const next = nextTarget(targets, target, event.key, isRtl, (status) => status === order.status || canDrop(order, status));
      if (next === target) return announce(t("noColumnThere"));
      setGrab({ order, target: next });
      announce(t("moveTarget", { status: statusLabel(next, t) }));
    }
  };
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>) => {
    if (grab !== null) {
      if (event.key !== "Tab") event.preventDefault();
      event.stopPropagation();
      return onGrabKey(event, grab);
    }
    const order = shownColumns.flatMap(({ cards }) => cards).find(({ key }) => key === focusedKey);
    if (order === undefined || !isPageKey(event.nativeEvent)) return;
    if (event.key === " ") {
      event.preventDefault(); // the column must not scroll
      if (block !== null) return announce(block);
      setGrab({ order, target: order.status });
      announce(t("grabbed", { orderNumber: order.number }));
    } else if (latinKey(event.nativeEvent) === "s") {
      event.preventDefault();
      setMenuOrder(order);
    } else if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      const beside = cardBeside(shownColumns, order.key, event.key, getComputedStyle(event.currentTarget).direction === "rtl");
      if (beside === undefined) return;
      flushSync(() => setFocusedKey(beside.key)); // its column draws it
      cardLink(event.currentTarget, beside.key)?.focus();
    }
  };

  return (
    <>
      <p id="board-help" className="visually-hidden">
        {t("boardHelp")}
      </p>
      <p role="status" className="visually-hidden">
        {announcement}
      </p>
      <div className={css.board} ref={boardRef} aria-busy={isBusy} onKeyDown={onKeyDown} onBlur={() => setGrab(null)} data-moving={moving !== null || undefined}>
        {columns.map(({ status, column }) => (
          <Column
            key={status}
            status={status}
            column={column}
            total={totals?.get(status)}
            changes={changes}
            drop={dropState(status)}
            currentKey={column.cards.some(({ key }) => key === focusedKey) ? focusedKey : (column.cards[0]?.key ?? null)}
            grabbedKey={moving?.key ?? null}
            onPointerDown={onPointerDown}
            onFocus={setFocusedKey}
            limits={limits[status] ?? DEFAULT_LIMITS}
            texts={texts}
          />
        ))}
      </div>
      {extra.length > 0 && (
        <div className={css.extras}>
          {extra.map((status) => (
            <div key={status} className={css.extra} data-column={status} data-drop={dropState(status)}>
              {statusLabel(status, t)}
            </div>
          ))}
        </div>
      )}
      {drag !== null && (
        <div className={css.ghost} ref={ghostRef} aria-hidden="true">
          <CardContent order={drag.order} limits={limits[drag.order.status] ?? DEFAULT_LIMITS} texts={texts} />
        </div>
      )}
      {menuOrder !== null && <StatusMenu orders={[menuOrder]} onClose={() => setMenuOrder(null)} />}
    </>
  );
}

function isPending(change: StatusChange | undefined): boolean {
  return change !== undefined && change.state !== "changed";
}

/** The order with the status that the user has given it; undefined if the board does not have it, or has the change already. */
function movedOrder(board: Board, change: StatusChange): Order | undefined {
  const order = board.get(change.key);
  return order === undefined || order.status === change.to ? undefined : { ...order, status: change.to };
}

function cardLink(board: HTMLElement, key: string): HTMLElement | null {
  return board.querySelector<HTMLElement>(`[data-card="${CSS.escape(key)}"] a`);
}

/** A card that moves to another column is another element: it gets the focus that its former one had. */
function useRestoredFocus(boardRef: RefObject<HTMLDivElement | null>, focusedKey: string | null, columns: unknown): void {
  const hadFocus = useRef(false);
  useLayoutEffect(() => {
    const board = boardRef.current;
    if (board === null || focusedKey === null) return;
    if (hadFocus.current && document.activeElement === document.body) cardLink(board, focusedKey)?.focus();
    hadFocus.current = board.contains(document.activeElement);
  }, [boardRef, focusedKey, columns]);
  useEffect(() => {
    const onFocus = () => {
      hadFocus.current = boardRef.current?.contains(document.activeElement) ?? false;
    };
    const onPointerDown = ({ target }: PointerEvent) => {
      if (!boardRef.current?.contains(target as Node)) hadFocus.current = false;
    };
    addEventListener("focusin", onFocus);
    addEventListener("pointerdown", onPointerDown);
    return () => {
      removeEventListener("focusin", onFocus);
      removeEventListener("pointerdown", onPointerDown);
    };
  }, [boardRef]);
}

