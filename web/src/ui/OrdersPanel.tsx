import { Suspense, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, type RefObject } from "react";
import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import { isPageKey, latinKey } from "../keys.ts";
import { isFiltered, type OrderFilter } from "../state/order-filter.ts";
import type { Order } from "../state/order-list.ts";
import type { SearchStatus } from "../state/order-search.ts";
import { CsvButton } from "./CsvButton.tsx";
import { FilterBar } from "./FilterBar.tsx";
import { useListSelection, type ListSelection } from "./list-selection.ts";
import { lazyComponent } from "./lazy-component.tsx";
import { OrdersGrid } from "./OrdersGrid.tsx";
import { SavedViews } from "./SavedViews.tsx";
import { useDashboard, useDashboardStore } from "./use-dashboard.ts";

const FirstOrder = lazyComponent(() => import("./first-order/FirstOrder.tsx").then((module) => module.default));
const loadBar = () => import("./SelectionBar.tsx").then((module) => module.SelectionBar);
const loadMenu = () => import("./StatusMenu.tsx").then((module) => module.StatusMenu);
const SelectionBar = lazyComponent(loadBar);
const StatusMenu = lazyComponent(loadMenu);

interface Props {
  filter: OrderFilter;
  onFilter: (filter: OrderFilter, typing?: boolean) => void;
  search: RefObject<HTMLInputElement | null>;
}

/** The list of orders with its filter. */
export function OrdersPanel({ filter, onFilter, search }: Props) {
  const t = useTranslate();
  const store = useDashboardStore();
  const ordersState = useDashboard((snapshot) => snapshot.ordersState);
  const version = useDashboard((snapshot) => snapshot.version);
  const [activeKey, setActiveKey] = useState<string | null>(null);
  const grid = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => store.search.setFilter(filter), [store, filter]);
  // oxlint-disable-next-line react/exhaustive-deps -- the list is the same object; each change of it has another version
  const orders = useMemo(() => store.search.matches(filter, Date.now()), [store, filter, version]);
  const selection = useListSelection(orders);
  const [menuOrders, setMenuOrders] = useState<readonly Order[]>([]);
  useSelectionMenuKey(selection, setMenuOrders);
  // Not when they are needed: the server may be away then.
  useEffect(() => void Promise.allSettled([loadBar(), loadMenu()]), []);
  const filtered = isFiltered(filter);
  const found = store.search.status;
  const count = useCount(filter, orders.length, found);
  const newest = useRef<Order>(undefined);
  newest.current = orders[0];
  const goToFirst = useCallback(() => {
    setActiveKey(newest.current?.key ?? null);
    grid.current?.focus();
  }, []);
  return (
    <section className="panel orders" aria-labelledby="orders-title">
      <header>
        <h2 id="orders-title">{t("orders")}</h2>
        <p role="status" data-found={count.orders} data-exact={count.exact} data-loaded={orders.length}>
          {t(count.exact ? "foundOrders" : "foundAtLeast", { count: count.orders })}
        </p>
        <CsvButton filter={filter} />
        <FilterBar filter={filter} onFilter={onFilter} search={search} onLeave={goToFirst} />
        <SavedViews filter={filter} />
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
      {ordersState === "ready" && !filtered && store.orders.size === 0 && (
        <Suspense fallback={null}>
          <FirstOrder />
        </Suspense>
      )}
      <OrdersGrid
        orders={orders}
        selection={selection}
        onMenu={(order) => setMenuOrders([order])}
        grid={grid}
        activeKey={activeKey}
        onActive={setActiveKey}
        busy={ordersState !== "ready"}
        onEnd={() => void (filtered ? found.searchedTo === null && store.search.loadMore() : store.loadOlderOrders())}
        emptyText={emptyText(ordersState === "loading", filtered, found, t)}
      />
      {filtered && ordersState === "ready" && <SearchNote status={found} />}
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

/** The number of orders of the table that match, or the least that it may be. */
function useCount(filter: OrderFilter, matching: number, status: SearchStatus): { orders: number; exact: boolean } {
  const total = useDashboard((snapshot) => snapshot.totals?.total_orders);
  const series = useDashboard((snapshot) => snapshot.series);
  if (!isFiltered(filter)) return total === undefined ? { orders: matching, exact: false } : { orders: total, exact: true };
  if (filter.text.trim() === "" && filter.days === "any" && series?.complete) {
    const counts = filter.statuses.map((name) => series.statuses.get(name) ?? 0);
    return { orders: counts.reduce((sum, count) => sum + count, 0), exact: true };
  }
  return { orders: matching, exact: status.complete };
}

function emptyText(loading: boolean, filtered: boolean, { state, complete }: SearchStatus, t: ReturnType<typeof useTranslate>): string {
  if (loading) return t("loading");
  if (!filtered) return t("noOrders");
  if (complete) return t("nothingFound");
  return state === "ready" || state === "failed" ? "" : t("searching");
}

/** What the search has not looked at yet. */
function SearchNote({ status: { state, searchedTo, more } }: { status: SearchStatus }) {
  const t = useTranslate();
  const format = useFormat();
  const store = useDashboardStore();
  if (state === "failed") {
    return (
      <p className="search-note" role="status">
        {t("searchFailed")}
      </p>
    );
  }
  if (searchedTo === null) return null;
  return (
    <p className="search-note" role="status">
      {searchedTo === "" ? t("searchedInPart") : t("searchedBackTo", { time: format.time(searchedTo) })}{" "}
      {more && (
        <button type="button" className="secondary" disabled={state === "searching"} onClick={() => void store.search.loadMore()}>
          {t("searchFurther")}
        </button>
      )}
    </p>
  );
}
