import { memo, useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type RefObject } from "react";
import { useFormat, type Format } from "../format.ts";
import { useTranslations, type Translations } from "../i18n.ts";
import { EMPTY_FILTER, filterPredicate, type OrderFilter } from "../state/order-filter.ts";
import type { Order } from "../state/order-list.ts";
import { ORDER_STATUSES } from "../state/order-summary.ts";
import * as icon from "./icons.tsx";
import { useDashboard, useDashboardStore } from "./use-dashboard.ts";
import { useVirtualRows, type VirtualRows } from "./use-virtual-rows.ts";

interface Props {
  filter: OrderFilter;
  onFilter: (filter: OrderFilter) => void;
  onOpen: (id: number) => void;
  search: RefObject<HTMLInputElement | null>;
}

export function OrdersTable({ filter, onFilter, onOpen, search }: Props) {
  const t = useTranslations();
  const store = useDashboardStore();
  const ordersState = useDashboard((snapshot) => snapshot.ordersState);
  const version = useDashboard((snapshot) => snapshot.version);
  const orders = useMemo(() => store.orders.filter(filterPredicate(filter)), [store, filter, version]);
  const filtered = filter.status !== null || filter.text !== "";
  return (
    <section className="panel orders" aria-labelledby="orders-title">
      <header>
        <h2 id="orders-title">{t.orders}</h2>
        <p role="status" data-found={orders.length}>
          {t.foundOrders(orders.length)}
        </p>
        {filtered && (
          <button type="button" className="clear-filter" onClick={() => onFilter(EMPTY_FILTER)}>
            {t.clearFilter}
            <icon.Close />
          </button>
        )}
        <label className="search">
          <icon.Search />
          <input
            ref={search}
            type="search"
            value={filter.text}
            placeholder={t.searchPlaceholder}
            aria-label={t.searchLabel}
            onChange={(event) => onFilter({ ...filter, text: event.target.value })}
            onKeyDown={(event) => {
              if (event.key !== "Escape") return;
              if (filter.text === "") event.currentTarget.blur();
              else onFilter({ ...filter, text: "" });
            }}
          />
          <kbd aria-hidden="true">/</kbd>
        </label>
        <select
          aria-label={t.statusLabel}
          value={filter.status ?? ""}
          onChange={(event) => onFilter({ ...filter, status: ORDER_STATUSES.find((status) => status === event.target.value) ?? null })}
        >
          <option value="">{t.anyStatus}</option>
          {ORDER_STATUSES.map((status) => (
            <option key={status} value={status}>
              {t.status[status]}
            </option>
          ))}
        </select>
      </header>
      {ordersState === "failed" && (
        <p className="error" role="alert">
          {t.loadFailed}
        </p>
      )}
      <Grid
        orders={orders}
        onOpen={onOpen}
        busy={ordersState !== "ready"}
        emptyText={ordersState === "loading" ? t.loading : filtered ? t.nothingFound : t.noOrders}
      />
    </section>
  );
}

interface GridProps {
  orders: readonly Order[];
  onOpen: (id: number) => void;
  busy: boolean;
  emptyText: string;
}

function Grid({ orders, onOpen, busy, emptyText }: GridProps) {
  const t = useTranslations();
  const format = useFormat();
  const store = useDashboardStore();
  const rows = useVirtualRows(orders.length);
  const [activeId, setActiveId] = useState<number | null>(null);
  useScrollAnchor(orders, rows);
  useEffect(() => {
    if (rows.endIndex === orders.length && rows.startIndex > 0) void store.loadOlderOrders();
  }, [store, rows.endIndex, rows.startIndex, orders.length]);

  const activeIndex = activeId === null ? -1 : indexOf(orders, activeId);
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
      setActiveId((orders[index] as Order).id);
      rows.scrollToRow(index);
    } else if ((event.key === "Enter" || event.key === " ") && activeIndex >= 0) {
      event.preventDefault();
      onOpen((orders[activeIndex] as Order).id);
    }
  };

  const rendered = [];
  for (let index = rows.startIndex; index < rows.endIndex; index++) {
    const order = orders[index] as Order;
    rendered.push(
      <Row
        key={order.id}
        order={order}
        index={index}
        top={index * rows.rowHeight}
        active={order.id === activeId}
        onOpen={onOpen}
        t={t}
        format={format}
      />,
    );
  }
  const isActiveRendered = activeIndex >= rows.startIndex && activeIndex < rows.endIndex;
  return (
    <div
      className="grid"
      role="grid"
      tabIndex={0}
      aria-labelledby="orders-title"
      aria-busy={busy}
      aria-rowcount={orders.length + 1}
      aria-activedescendant={isActiveRendered ? `order-${activeId}` : undefined}
      ref={rows.scrollRef}
      onScroll={rows.onScroll}
      onKeyDown={onKeyDown}
    >
      <div role="rowgroup" className="grid-head">
        <div role="row" aria-rowindex={1} className="grid-row">
          {(["number", "customer", "total", "status", "time"] as const).map((name) => (
            <span key={name} role="columnheader" className={`cell-${name}`}>
              {t.columns[name]}
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
          {t.scrollToNewest}
        </button>
      )}
    </div>
  );
}

interface RowProps {
  order: Order;
  index: number;
  top: number;
  active: boolean;
  onOpen: (id: number) => void;
  t: Translations;
  format: Format;
}

const Row = memo(function Row({ order, index, top, active, onOpen, t, format }: RowProps) {
  return (
    <div
      role="row"
      id={`order-${order.id}`}
      className="grid-row"
      aria-rowindex={index + 2}
      aria-selected={active}
      style={{ transform: `translateY(${top}px)` }}
      onClick={() => onOpen(order.id)}
    >
      <span role="gridcell" className="cell-number">
        {order.number}
      </span>
      <span role="gridcell" className="cell-customer">
        {order.customer}
      </span>
      <span role="gridcell" className="cell-total">
        {format.money(order.total)}
      </span>
      <span role="gridcell" className="cell-status">
        <span key={order.status} className={`badge ${order.status}`}>
          {t.status[order.status]}
        </span>
      </span>
      <span role="gridcell" className="cell-time">
        {format.time(order.createdAt)}
      </span>
    </div>
  );
});

/** Binary search in orders by descending id. Returns -1 if there is no such order. */
function indexOf(orders: readonly Order[], id: number): number {
  let low = 0;
  let high = orders.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((orders[middle] as Order).id > id) low = middle + 1;
    else high = middle;
  }
  return orders[low]?.id === id ? low : -1;
}

/** Keeps the visible orders in place when rows are inserted above them, unless the table is scrolled to the top. */
function useScrollAnchor(orders: readonly Order[], { scrollRef, scrollTop, rowHeight, onScroll }: VirtualRows): void {
  const remainder = useRef(0);
  const previous = useRef(orders);
  useLayoutEffect(() => {
    const before = previous.current;
    previous.current = orders;
    const first = before[Math.floor(scrollTop / rowHeight)];
    if (before === orders || first === undefined || scrollTop < rowHeight / 2) return;
    const index = indexOf(orders, first.id);
    const moved = index - indexOf(before, first.id);
    if (index < 0 || moved === 0) return;
    const element = scrollRef.current as HTMLDivElement;
    // Browsers round scrollTop. A row of 37.5 px would drift by half a pixel with each odd number of new rows.
    const target = element.scrollTop + remainder.current + moved * rowHeight;
    element.scrollTop = target;
    remainder.current = target - element.scrollTop;
    onScroll();
  }, [orders, scrollRef, scrollTop, rowHeight, onScroll]);
}
