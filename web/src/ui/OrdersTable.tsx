import { memo, useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type RefObject } from "react";
import { useFormat, type Format } from "../format.ts";
import type { Order } from "../state/order-book.ts";
import { STATUSES } from "../state/summary.ts";
import { useWords, type Words } from "../words.ts";
import { NO_FILTER, type Filter } from "./Dashboard.tsx";
import * as icon from "./icons.tsx";
import { useLive, useView } from "./use-live.ts";
import { useVirtualRows, type VirtualRows } from "./use-virtual-rows.ts";

interface Props {
  filter: Filter;
  onFilter: (filter: Filter) => void;
  onOpen: (id: number) => void;
  search: RefObject<HTMLInputElement | null>;
}

export function OrdersTable({ filter, onFilter, onOpen, search }: Props) {
  const words = useWords();
  const live = useLive();
  const state = useView((view) => view.orders);
  const version = useView((view) => view.version);
  const orders = useMemo(() => live.book.select(condition(filter)), [live, filter, version]);
  const filtered = filter.status !== null || filter.text !== "";
  return (
    <section className="panel orders" aria-labelledby="orders-title">
      <header>
        <h2 id="orders-title">{words.orders}</h2>
        <p role="status" data-found={orders.length}>
          {words.found(orders.length)}
        </p>
        {filtered && (
          <button type="button" className="clear" onClick={() => onFilter(NO_FILTER)}>
            {words.clearFilter}
            <icon.Close />
          </button>
        )}
        <label className="search">
          <icon.Search />
          <input
            ref={search}
            type="search"
            value={filter.text}
            placeholder={words.search}
            aria-label={words.searchLabel}
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
          aria-label={words.statusLabel}
          value={filter.status ?? ""}
          onChange={(event) => onFilter({ ...filter, status: STATUSES.find((status) => status === event.target.value) ?? null })}
        >
          <option value="">{words.anyStatus}</option>
          {STATUSES.map((status) => (
            <option key={status} value={status}>
              {words.status[status]}
            </option>
          ))}
        </select>
      </header>
      {state === "failed" && (
        <p className="trouble" role="alert">
          {words.loadFailed}
        </p>
      )}
      <Grid orders={orders} onOpen={onOpen} busy={state !== "ready"} empty={state === "loading" ? words.loading : filtered ? words.nothingFound : words.noOrders} />
    </section>
  );
}

function condition({ status, text }: Filter): ((order: Order) => boolean) | undefined {
  const wanted = text.trim().toLowerCase();
  if (status === null && wanted === "") return undefined;
  return (order) =>
    (status === null || order.status === status) &&
    (wanted === "" || order.number.toLowerCase().includes(wanted) || order.customer.toLowerCase().includes(wanted));
}

interface GridProps {
  orders: readonly Order[];
  onOpen: (id: number) => void;
  busy: boolean;
  empty: string;
}

function Grid({ orders, onOpen, busy, empty }: GridProps) {
  const words = useWords();
  const format = useFormat();
  const live = useLive();
  const rows = useVirtualRows(orders.length);
  const [active, setActive] = useState<number | null>(null);
  useSteadyView(orders, rows);
  useEffect(() => {
    if (rows.end === orders.length && rows.first > 0) void live.loadOlder();
  }, [live, rows.end, rows.first, orders.length]);

  const activeIndex = active === null ? -1 : indexOf(orders, active);
  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, number> = {
      ArrowDown: activeIndex + 1,
      ArrowUp: activeIndex - 1,
      PageDown: activeIndex + rows.rowsInView,
      PageUp: activeIndex - rows.rowsInView,
      Home: 0,
      End: orders.length - 1,
    };
    const step = steps[event.key];
    if (step !== undefined && orders.length > 0) {
      event.preventDefault(); // else it scrolls by itself
      const index = Math.min(orders.length - 1, Math.max(0, step));
      setActive((orders[index] as Order).id);
      rows.show(index);
    } else if ((event.key === "Enter" || event.key === " ") && activeIndex >= 0) {
      event.preventDefault();
      onOpen((orders[activeIndex] as Order).id);
    }
  };

  const drawn = [];
  for (let index = rows.first; index < rows.end; index++) {
    const order = orders[index] as Order;
    drawn.push(
      <Row
        key={order.id}
        order={order}
        index={index}
        top={index * rows.rowHeight}
        active={order.id === active}
        onOpen={onOpen}
        words={words}
        format={format}
      />,
    );
  }
  const isDrawn = activeIndex >= rows.first && activeIndex < rows.end;
  return (
    <div
      className="grid"
      role="grid"
      tabIndex={0}
      aria-labelledby="orders-title"
      aria-busy={busy}
      aria-rowcount={orders.length + 1}
      aria-activedescendant={isDrawn ? `order-${active}` : undefined}
      ref={rows.scroller}
      onScroll={rows.onScroll}
      onKeyDown={onKeyDown}
    >
      <div role="rowgroup" className="grid-head">
        <div role="row" aria-rowindex={1} className="grid-row">
          {(["number", "customer", "total", "status", "time"] as const).map((name) => (
            <span key={name} role="columnheader" className={`cell-${name}`}>
              {words.columns[name]}
            </span>
          ))}
        </div>
      </div>
      <div role="rowgroup" className="grid-body" style={{ height: orders.length * rows.rowHeight }}>
        {drawn}
      </div>
      {orders.length === 0 && <p className="empty">{empty}</p>}
      {rows.first > 0 && (
        <button
          type="button"
          className="to-top"
          onClick={() => {
            (rows.scroller.current as HTMLElement).scrollTop = 0;
          }}
        >
          <icon.Up />
          {words.toNewest}
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
  words: Words;
  format: Format;
}

const Row = memo(function Row({ order, index, top, active, onOpen, words, format }: RowProps) {
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
          {words.status[order.status]}
        </span>
      </span>
      <span role="gridcell" className="cell-time">
        {format.time(order.createdAt)}
      </span>
    </div>
  );
});

/** By descending id. */
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

/** New rows come in at the top. Whoever has scrolled down is reading: what is read stays where it is. */
function useSteadyView(orders: readonly Order[], { scroller, top, rowHeight, onScroll }: VirtualRows): void {
  const before = useRef(orders);
  useLayoutEffect(() => {
    const old = before.current;
    before.current = orders;
    const first = old[Math.floor(top / rowHeight)];
    if (old === orders || first === undefined || top < rowHeight / 2) return;
    const index = indexOf(orders, first.id);
    const moved = index - indexOf(old, first.id);
    if (index < 0 || moved === 0) return;
    (scroller.current as HTMLDivElement).scrollTop += moved * rowHeight;
    onScroll();
  }, [orders, scroller, top, rowHeight, onScroll]);
}
