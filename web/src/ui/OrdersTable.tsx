import { lazy, memo, Suspense, useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent as ReactKeyboardEvent, type RefObject } from "react";
import { useFormat, type Format } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import { EMPTY_FILTER, filterPredicate, type OrderFilter } from "../state/order-filter.ts";
import { isPageKey, latinKey } from "../keys.ts";
import type { Order } from "../state/order-list.ts";
import type { StatusChange } from "../state/status-changes.ts";
import { statusLabel } from "../status.ts";
import * as icon from "./icons.tsx";
import { useListSelection, type ListSelection } from "./list-selection.ts";
import { StatusBadge } from "./StatusBadge.tsx";
import { useDashboard, useDashboardStore } from "./use-dashboard.ts";
import { useStatusChanges } from "./use-status-changes.ts";
import { useStatuses } from "./use-statuses.ts";
import { useVirtualRows, type VirtualRows } from "./use-virtual-rows.ts";

const SelectionBar = lazy(() => import("./SelectionBar.tsx").then((module) => ({ default: module.SelectionBar })));
const StatusMenu = lazy(() => import("./StatusMenu.tsx").then((module) => ({ default: module.StatusMenu })));

/** The value of the option for any status. No status is this text: PostgreSQL has no such character. */
const ANY_STATUS = "\0";

interface Props {
  filter: OrderFilter;
  onFilter: (filter: OrderFilter) => void;
  onOpen: (key: string) => void;
  search: RefObject<HTMLInputElement | null>;
}

export function OrdersTable({ filter, onFilter, onOpen, search }: Props) {
  const t = useTranslate();
  const store = useDashboardStore();
  const ordersState = useDashboard((snapshot) => snapshot.ordersState);
  const version = useDashboard((snapshot) => snapshot.version);
  const orders = useMemo(() => store.orders.filter(filterPredicate(filter)), [store, filter, version]);
  const { statuses } = useStatuses();
  const selection = useListSelection(orders);
  const [menuOrders, setMenuOrders] = useState<readonly Order[]>([]);
  useSelectionMenuKey(selection, setMenuOrders);
  const filtered = filter.status !== null || filter.text !== "";
  return (
    <section className="panel orders" aria-labelledby="orders-title">
      <header>
        <h2 id="orders-title">{t("orders")}</h2>
        <p role="status" data-found={orders.length}>
          {t("foundOrders", { count: orders.length })}
        </p>
        {filtered && (
          <button type="button" className="clear-filter" onClick={() => onFilter(EMPTY_FILTER)}>
            {t("clearFilter")}
            <icon.Close />
          </button>
        )}
        <label className="search">
          <icon.Search />
          <input
            ref={search}
            type="search"
            value={filter.text}
            placeholder={t("searchPlaceholder")}
            aria-label={t("searchLabel")}
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
          aria-label={t("statusLabel")}
          value={filter.status ?? ANY_STATUS}
          onChange={({ target: { value } }) => onFilter({ ...filter, status: value === ANY_STATUS ? null : value })}
        >
          <option value={ANY_STATUS}>{t("anyStatus")}</option>
          {statuses.map((status) => (
            <option key={status} value={status}>
              {statusLabel(status, t)}
            </option>
          ))}
        </select>
      </header>
      {ordersState === "failed" && (
        <p className="error" role="alert">
          {t("loadFailed")}
        </p>
      )}
      <Suspense fallback={null}>
        {selection.orders.length > 0 && <SelectionBar selection={selection} onMenu={() => setMenuOrders(selection.orders)} />}
        {menuOrders.length > 0 && <StatusMenu orders={menuOrders} onClose={() => setMenuOrders([])} />}
      </Suspense>
      <Grid
        orders={orders}
        selection={selection}
        onMenu={(order) => setMenuOrders([order])}
        onOpen={onOpen}
        busy={ordersState !== "ready"}
        emptyText={ordersState === "loading" ? t("loading") : filtered ? t("nothingFound") : t("noOrders")}
      />
    </section>
  );
}

/** The key for the status of the selected orders works on the whole page. */
function useSelectionMenuKey({ orders }: ListSelection, openMenu: (orders: readonly Order[]) => void): void {
  useEffect(() => {
    if (orders.length === 0) return;
    const onKey = (event: KeyboardEvent) => {
      if (!isPageKey(event) || latinKey(event) !== "s") return;
      event.preventDefault();
      openMenu(orders);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [orders, openMenu]);
}

interface GridProps {
  orders: readonly Order[];
  selection: ListSelection;
  /** Opens the menu of statuses for one order. */
  onMenu: (order: Order) => void;
  onOpen: (key: string) => void;
  busy: boolean;
  emptyText: string;
}

function Grid({ orders, selection, onMenu, onOpen, busy, emptyText }: GridProps) {
  const t = useTranslate();
  const format = useFormat();
  const store = useDashboardStore();
  const { changes } = useStatusChanges();
  const rows = useVirtualRows(orders.length);
  const [activeKey, setActiveKey] = useState<string | null>(null);
  useScrollAnchor(orders, rows);
  useEffect(() => {
    if (rows.endIndex === orders.length && rows.startIndex > 0) void store.loadOlderOrders();
  }, [store, rows.endIndex, rows.startIndex, orders.length]);

  const activeOrder = activeKey === null ? undefined : store.orders.get(activeKey);
  const activeIndex = indexOf(orders, activeOrder);
  const onKeyDown = (event: ReactKeyboardEvent) => {
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
      setActiveKey((orders[index] as Order).key);
      rows.scrollToRow(index);
    } else if ((event.key === "Enter" || event.key === " ") && activeIndex >= 0) {
      event.preventDefault();
      onOpen((orders[activeIndex] as Order).key);
    } else if (event.key === "Escape" && selection.orders.length > 0) {
      event.stopPropagation(); // the filter stays
      selection.clear();
    } else if (activeIndex >= 0 && isPageKey(event.nativeEvent)) {
      const key = latinKey(event.nativeEvent);
      if (key === "x") selection.toggle((orders[activeIndex] as Order).key, event.shiftKey);
      else if (key === "s" && selection.orders.length === 0) {
        event.preventDefault(); // the letter must not be typed
        onMenu(orders[activeIndex] as Order);
      }
    }
  };

  const rendered = [];
  for (let index = rows.startIndex; index < rows.endIndex; index++) {
    const order = orders[index] as Order;
    rendered.push(
      <Row
        key={order.key}
        order={order}
        index={index}
        top={index * rows.rowHeight}
        active={order.key === activeKey}
        selected={selection.isSelected(order.key)}
        change={changes.get(order.key)}
        onSelect={selection.toggle}
        onOpen={onOpen}
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
      aria-activedescendant={isActiveRendered ? rowId(activeOrder as Order) : undefined}
      ref={rows.scrollRef}
      onScroll={rows.onScroll}
      onKeyDown={onKeyDown}
    >
      <div role="rowgroup" className="grid-head">
        <div role="row" aria-rowindex={1} className="grid-row">
          <span role="columnheader" className="cell-select">
            <input
              type="checkbox"
              aria-label={t("selectAll")}
              checked={selection.orders.length > 0 && selection.orders.length === orders.length}
              ref={(input) => {
                if (input) input.indeterminate = selection.orders.length > 0 && selection.orders.length < orders.length;
              }}
              onChange={selection.toggleAll}
            />
          </span>
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

interface RowProps {
  order: Order;
  index: number;
  top: number;
  active: boolean;
  selected: boolean;
  /** What the user has done to it, without an event yet. */
  change: StatusChange | undefined;
  onSelect: (key: string, range: boolean) => void;
  onOpen: (key: string) => void;
  format: Format;
}

const Row = memo(function Row({ order, index, top, active, selected, change, onSelect, onOpen, format }: RowProps) {
  const t = useTranslate();
  const status = change?.to ?? order.status;
  return (
    <div
      role="row"
      id={rowId(order)}
      className="grid-row"
      aria-rowindex={index + 2}
      aria-selected={active}
      style={{ transform: `translateY(${top}px)` }}
      data-change={change?.state}
      onClick={(event) => (event.shiftKey ? onSelect(order.key, true) : onOpen(order.key))}
    >
      <span role="gridcell" className="cell-select" onClick={(event) => event.stopPropagation()}>
        <input
          type="checkbox"
          tabIndex={-1}
          aria-label={t("selectOrder", { orderNumber: order.number })}
          checked={selected}
          onChange={() => {}}
          onClick={(event) => onSelect(order.key, event.shiftKey)}
        />
      </span>
      <span role="gridcell" className="cell-number">
        {order.number}
      </span>
      <span role="gridcell" className="cell-customer">
        {order.customer ?? "–"}
      </span>
      <span role="gridcell" className="cell-total">
        {format.money(order.total, order.currency)}
      </span>
      <span role="gridcell" className="cell-status">
        <StatusBadge key={status} status={status} />
      </span>
      <span role="gridcell" className="cell-time">
        {format.time(order.createdAt)}
      </span>
    </div>
  );
});

/** A key may hold spaces, which an id must not. */
function rowId({ rank }: Order): string {
  return `order-${rank}`;
}

/** Binary search in orders by descending rank. Returns -1 if the order is not among them. */
function indexOf(orders: readonly Order[], order: Order | undefined): number {
  if (order === undefined) return -1;
  let low = 0;
  let high = orders.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((orders[middle] as Order).rank > order.rank) low = middle + 1;
    else high = middle;
  }
  return orders[low]?.key === order.key ? low : -1;
}

/** Keeps the visible orders in place when rows are inserted above them, unless the table is scrolled to the top. */
function useScrollAnchor(orders: readonly Order[], { scrollRef, scrollTop, rowHeight, onScroll }: VirtualRows): void {
  const store = useDashboardStore();
  const remainder = useRef(0);
  const previous = useRef(orders);
  useLayoutEffect(() => {
    const before = previous.current;
    previous.current = orders;
    const indexBefore = Math.floor(scrollTop / rowHeight);
    const first = before[indexBefore];
    if (before === orders || first === undefined || scrollTop < rowHeight / 2) return;
    const index = indexOf(orders, store.orders.get(first.key));
    const moved = index - indexBefore;
    if (index < 0 || moved === 0) return;
    const element = scrollRef.current as HTMLDivElement;
    // Browsers round scrollTop. A row of 37.5 px would drift by half a pixel with each odd number of new rows.
    const target = element.scrollTop + remainder.current + moved * rowHeight;
    element.scrollTop = target;
    remainder.current = target - element.scrollTop;
    onScroll();
  }, [store, orders, scrollRef, scrollTop, rowHeight, onScroll]);
}
