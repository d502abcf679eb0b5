import { memo, useEffect, useImperativeHandle, useLayoutEffect, useRef, useState, type KeyboardEvent, type MouseEvent, type RefObject } from "react";
import { useTranslate } from "../i18n.ts";
import { isPageKey, latinKey } from "../keys.ts";
import { navigate, orderHref } from "../route.ts";
import type { Order } from "../state/order-list.ts";
import type { StatusChange } from "../state/status-change.ts";
import { highlight } from "./highlight.ts";
import * as icon from "./icons.tsx";
import { Link } from "./Link.tsx";
import type { ListSelection } from "./list-selection.ts";
import { RowSlots } from "./row-slots.ts";
import { Badge } from "./StatusBadge.tsx";
import { useStatusChanges } from "./use-status-changes.ts";
import { useTexts, type Texts } from "./use-texts.ts";
import { useVirtualRows, type VirtualRows } from "./use-virtual-rows.ts";

interface Props {
  /** Newest first. */
  orders: readonly Order[];
  /** Gets the scrolling element. */
  grid: RefObject<HTMLDivElement | null>;
  /** The order at which the keyboard is. */
  activeKey: string | null;
  onActive: (key: string) => void;
  selection: ListSelection;
  /** Opens the menu of statuses for one order. */
  onMenu: (order: Order) => void;
  busy: boolean;
  /** The last of the orders is in view, or nearly. */
  onEnd: () => void;
  emptyText: string;
}

const STATUS_CHANGED_MS = 900;

export function OrdersGrid({ orders, grid, activeKey, onActive, selection, onMenu, busy, onEnd, emptyText }: Props) {
  const texts = useTexts();
  const { t } = texts;
  const [slots] = useState(() => new RowSlots());
  const { changes } = useStatusChanges();
  const rows = useVirtualRows(orders.length);
  useImperativeHandle(grid, () => rows.scrollRef.current as HTMLDivElement, [rows.scrollRef]);
  useScrollAnchor(orders, rows);
  useEffect(() => {
    if (rows.endIndex === orders.length) onEnd(); // after each render: what is there to load may have changed too
  });

  const activeIndex = activeKey === null ? -1 : orders.findIndex(({ key }) => key === activeKey);
  const activeOrder = orders[activeIndex];
  const onKeyDown = (event: KeyboardEvent) => {
    const targets: Record<string, number> = {
      ArrowDown: activeIndex + 1,
      ArrowUp: activeIndex - 1,
      PageDown: activeIndex + rows.pageSize,
      PageUp: activeIndex - rows.pageSize,
      Home: 0,
      End: orders.length - 1,
    };
    const target = targets[event.key];
    if (target !== undefined && orders.length > 0) {
      event.preventDefault(); // the browser must not scroll as well
      const index = Math.min(orders.length - 1, Math.max(0, target));
      onActive((orders[index] as Order).key);
      rows.scrollToRow(index);
    } else if ((event.key === "Enter" || event.key === " ") && activeIndex >= 0) {
      event.preventDefault();
      navigate(orderHref((orders[activeIndex] as Order).key));
    } else if (event.key === "Escape" && selection.orders.length > 0) {
      event.stopPropagation(); // the filter stays
      selection.clear();
    } else if (activeOrder !== undefined && isPageKey(event.nativeEvent)) {
      const key = latinKey(event.nativeEvent);
      if (key === "x") selection.toggle(activeOrder.key, event.shiftKey);
      else if (key === "s" && selection.orders.length === 0) {
        event.preventDefault(); // the letter must not be typed
        onMenu(activeOrder);
      }
    }
  };

  const shown = orders.slice(rows.startIndex, rows.endIndex);
  const slotKeys = slots.assign(shown.map(({ key }) => key));
  const rendered = shown.map((order, place) => {
    const index = rows.startIndex + place;
    return (
      <Row
        key={slotKeys[place]}
        order={order}
        index={index}
        top={index * rows.rowHeight}
        active={order.key === activeKey}
        selected={selection.isSelected(order.key)}
        change={changes.get(order.key)}
        onSelect={selection.toggle}
        texts={texts}
      />
    );
  });
  const isActiveRendered = activeIndex >= rows.startIndex && activeIndex < rows.endIndex;
  return (
    <div
      className="grid"
      role="grid"
      tabIndex={0}
      aria-labelledby="orders-title"
      aria-busy={busy}
      aria-rowcount={orders.length + 1}
      aria-activedescendant={isActiveRendered ? rowId(activeOrder as Order) : undefined}
      ref={rows.scrollRef}
      onScroll={rows.onScroll}
      onKeyDown={onKeyDown}
    >
      <div role="rowgroup" className="grid-head">
        <div role="row" aria-rowindex={1} className="grid-row">
          <SelectAll selection={selection} count={orders.length} />
          {(["number", "customer", "total", "status", "time"] as const).map((name) => (
            <span key={name} role="columnheader" className={`cell-${name}`}>
              {t(`columns.${name}`)}
            </span>
          ))}
        </div>
      </div>
      <div role="rowgroup" className="grid-body" style={{ height: orders.length * rows.rowHeight }}>
        {rendered}
      </div>
      {orders.length === 0 && <p className="empty">{emptyText}</p>}
      {rows.startIndex > 0 && (
        <button
          type="button"
          className="scroll-to-top"
          onClick={() => {
            (rows.scrollRef.current as HTMLElement).scrollTop = 0;
          }}
        >
          <icon.ArrowUp />
          {t("scrollToNewest")}
        </button>
      )}
    </div>
  );
}

function SelectAll({ selection, count }: { selection: ListSelection; count: number }) {
  const t = useTranslate();
  const selected = selection.orders.length;
  return (
    <span role="columnheader" className="cell-select">
      <input
        type="checkbox"
        aria-label={t("selectAll")}
        checked={selected > 0 && selected === count}
        ref={(input) => {
          if (input) input.indeterminate = selected > 0 && selected < count;
        }}
        onChange={selection.toggleAll}
      />
    </span>
  );
}

interface RowProps {
  order: Order;
  index: number;
  top: number;
  active: boolean;
  selected: boolean;
  /** What the user has done to it, without an event yet. */
  change: StatusChange | undefined;
  onSelect: (key: string, range: boolean) => void;
  texts: Texts;
}

const Row = memo(function Row({ order, index, top, active, selected, change, onSelect, texts }: RowProps) {
  const { t, format } = texts;
  const status = change?.to ?? order.status;
  const { element, pressedKey } = useRowOf(order.key);
  const onClick = (event: MouseEvent) => {
    const pressed = pressedKey.current;
    pressedKey.current = undefined;
    if (pressed !== undefined && pressed !== order.key) {
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    // The row is the area of its link: with Shift a click selects instead of opening a window.
    if (!event.shiftKey || event.target instanceof HTMLInputElement) return;
    event.preventDefault();
    event.stopPropagation();
    onSelect(order.key, true);
  };
  return (
    <div
      role="row"
      id={rowId(order)}
      className="grid-row"
      aria-rowindex={index + 2}
      aria-selected={active}
      data-change={change?.state}
      style={{ transform: `translateY(${top}px)` }}
      ref={element}
      onPointerDownCapture={() => {
        pressedKey.current = order.key;
      }}
      onClickCapture={onClick}
    >
      <span role="gridcell" className="cell-select">
        <input
          type="checkbox"
          tabIndex={-1}
          aria-label={t("selectOrder", { orderNumber: order.number })}
          checked={selected}
          onClick={(event) => onSelect(order.key, event.shiftKey)}
          onChange={() => {}} // a change does not tell whether Shift is pressed
        />
      </span>
      <span role="gridcell" className="cell-number">
        {/* The keyboard reaches it by the row. Its area is the whole row. */}
        <Link href={orderHref(order.key)} tabIndex={-1}>
          <bdi>{order.number}</bdi>
        </Link>
      </span>
      <span role="gridcell" className="cell-customer">
        <bdi>{order.customer ?? "–"}</bdi>
      </span>
      <span role="gridcell" className="cell-total">
        <bdi>{format.money(order.total, order.currency)}</bdi>
      </span>
      <span role="gridcell" className="cell-status">
        <ChangingBadge orderKey={order.key} status={status} texts={texts} />
      </span>
      <span role="gridcell" className="cell-time">
        {format.time(order.createdAt)}
      </span>
    </div>
  );
});

/**
 * Under load a row comes to show another order (see RowSlots). What the user has begun on the one before must not end on it: the focus leaves
 * the row, and `pressedKey` is the order on which the pointer was pressed last.
 */
function useRowOf(key: string) {
  const element = useRef<HTMLDivElement>(null);
  const pressedKey = useRef<string>(undefined);
  useEffect(
    () => () => {
      if (element.current?.contains(document.activeElement)) (document.activeElement as HTMLElement).blur();
    },
    [key],
  );
  return { element, pressedKey };
}

/** Lights up when the status of the order changes. */
function ChangingBadge({ orderKey, status, texts }: { orderKey: string; status: string; texts: Texts }) {
  const element = useRef<HTMLSpanElement>(null);
  const shown = useRef({ orderKey, status });
  useEffect(() => {
    const before = shown.current;
    shown.current = { orderKey, status };
    if (before.orderKey === orderKey && before.status !== status) highlight(element.current, STATUS_CHANGED_MS);
  }, [orderKey, status]);
  return <Badge status={status} texts={texts} ref={element} />;
}

/** A key may hold spaces, which an id must not. */
function rowId({ rank }: Order): string {
  return `order-${rank}`;
}

/** Keeps the visible orders in place when rows are inserted above them, unless the table is scrolled to the top. */
function useScrollAnchor(orders: readonly Order[], { scrollRef, scrollTop, rowHeight, onScroll }: VirtualRows): void {
  const remainder = useRef(0);
  const previous = useRef(orders);
  useLayoutEffect(() => {
    const before = previous.current;
    previous.current = orders;
    const indexBefore = Math.floor(scrollTop / rowHeight);
    const first = before[indexBefore];
    if (before === orders || first === undefined || scrollTop < rowHeight / 2) return;
    const index = orders.findIndex(({ key }) => key === first.key);
    const moved = index - indexBefore;
    if (index < 0 || moved === 0) return;
    const element = scrollRef.current as HTMLDivElement;
    // Browsers round scrollTop. A row of 37.5 px would drift by half a pixel with each odd number of new rows.
    const target = element.scrollTop + remainder.current + moved * rowHeight;
    element.scrollTop = target;
    remainder.current = target - element.scrollTop;
    onScroll();
  }, [orders, scrollRef, scrollTop, rowHeight, onScroll]);
}
