import { useRef, useState, type ReactNode } from "react";
import type { Alarm } from "../src/alarm.ts";
import { DEFAULT_LIMITS } from "../src/preferences.ts";
import { EMPTY_FILTER, type OrderFilter } from "../src/state/order-filter.ts";
import { AlarmBanner, AlarmButton } from "../src/ui/board/AlarmControls.tsx";
import { BoardSettings } from "../src/ui/board/BoardSettings.tsx";
import { Column } from "../src/ui/board/Column.tsx";
import { EventLog } from "../src/ui/EventLog.tsx";
import { EventsPanel } from "../src/ui/EventsPanel.tsx";
import FirstOrder from "../src/ui/first-order/FirstOrder.tsx";
import { NotLoaded } from "../src/ui/lazy-component.tsx";
import type { ListSelection } from "../src/ui/list-selection.ts";
import { History } from "../src/ui/order/History.tsx";
import { OrderFields } from "../src/ui/order/OrderFields.tsx";
import { OrderStatus } from "../src/ui/order/OrderStatus.tsx";
import { QrCode } from "../src/ui/order/QrCode.tsx";
import { ShareOrder } from "../src/ui/order/ShareOrder.tsx";
import { OrdersPanel } from "../src/ui/OrdersPanel.tsx";
import { PanelBoundary } from "../src/ui/PanelBoundary.tsx";
import { SelectionBar } from "../src/ui/SelectionBar.tsx";
import { ShortcutsHelp } from "../src/ui/ShortcutsHelp.tsx";
import { SignInOverlay } from "../src/ui/SignIn.tsx";
import { StatusBadge } from "../src/ui/StatusBadge.tsx";
import { StatusChart } from "../src/ui/StatusChart.tsx";
import { StatusMenu } from "../src/ui/StatusMenu.tsx";
import { TimeChart } from "../src/ui/TimeChart.tsx";
import { Totals } from "../src/ui/Totals.tsx";
import { OwnOrder } from "../src/ui/visitor/OwnOrder.tsx";
import { SeriesChart } from "../src/ui/wall/SeriesChart.tsx";
import { StatusCounts } from "../src/ui/wall/StatusCounts.tsx";
import { countsOf } from "../src/state/sums.ts";
import { useTexts } from "../src/ui/use-texts.ts";
import { ViewFrame } from "../src/ui/ViewFrame.tsx";
import { scene } from "./scenes.ts";

const nothing = () => {};
const { orders, meta } = scene.store;
const changes = scene.store.changes?.changes ?? new Map();
const statuses = meta.statuses;

/** Every component of the page, in the state that it has in the scene. The frame has the header, the toast and the results of changes. */
export function Gallery() {
  return (
    <ViewFrame>
      <main className="gallery">
        <Part name="Totals">
          <Totals />
        </Part>
        <Part name="TimeChart">
          <TimeChart />
        </Part>
        <Part name="StatusChart">
          <StatusChart filter={{ ...EMPTY_FILTER, statuses: statuses.slice(0, 1) }} onFilter={nothing} />
        </Part>
        <Part name="OrdersPanel" isWide>
          <Orders />
        </Part>
        <Part name="SelectionBar">
          <SelectionBar selection={SELECTION} onMenu={nothing} />
        </Part>
        <Part name="EventsPanel">
          <EventsPanel />
        </Part>
        <Part name="EventLog">
          <section className="panel events">
            <EventLog />
          </section>
        </Part>
        <Part name="StatusBadge">
          <p className="gallery-row">
            {["", ...statuses].map((status) => (
              <StatusBadge key={status} status={status} />
            ))}
            <StatusBadge status="pending" className="previous" />
          </p>
        </Part>
        <Part name="OrderStatus">
          <OrderStatus order={scene.order} isDeleted={scene.isDeleted} events={scene.history} onMenu={nothing} />
        </Part>
        <Part name="OrderFields">
          <OrderFields order={scene.order} />
        </Part>
        <Part name="History">
          <History events={scene.history} isLoading={scene.name === "waiting"} />
        </Part>
        <Part name="ShareOrder and QrCode">
          <ShareOrder orderKey={scene.order.key} />
          <QrCode text="https://shop.example/admin/dashboard/orders/1" label="QR code" />
        </Part>
        <Part name="Column and Card" isWide>
          <Board />
        </Part>
        <Part name="AlarmButton and AlarmBanner">
          <AlarmButton alarm={ALARM} />
          <AlarmBanner alarm={ALARM} isFrozen={false} />
        </Part>
        <Part name="FirstOrder">
          <div className="panel">
            <FirstOrder />
          </div>
        </Part>
        <Part name="OwnOrder">
          <ol className="gallery-list">
            <OwnOrder order={scene.order} open onToggle={nothing} />
          </ol>
        </Part>
        <Part name="StatusCounts">
          <StatusCounts counts={countsOf(scene.series.statuses)} />
        </Part>
        <Part name="SeriesChart">
          <SeriesChart series={scene.series} />
        </Part>
        <Part name="StatusMenu">
          <StatusMenu orders={orders.length === 0 ? [scene.order] : orders.slice(0, 3)} onClose={nothing} />
        </Part>
        <Part name="BoardSettings">
          <BoardSettings statuses={statuses} visible={statuses.slice(0, 3)} onClose={nothing} />
        </Part>
        <Part name="ShortcutsHelp">
          <ShortcutsHelp onClose={nothing} />
        </Part>
        <Part name="SignInOverlay">
          <SignInOverlay />
        </Part>
        <Part name="PanelBoundary and NotLoaded">
          <PanelBoundary className="">
            <Broken />
          </PanelBoundary>
          <NotLoaded />
        </Part>
      </main>
    </ViewFrame>
  );
}

function Part({ name, isWide = false, children }: { name: string; isWide?: boolean; children: ReactNode }) {
  return (
    <div className={isWide ? "gallery-part gallery-wide" : "gallery-part"} data-part={name}>
      <h2>{name}</h2>
      {children}
    </div>
  );
}

const SELECTION: ListSelection = { orders: orders.slice(0, 3), isSelected: () => true, toggle: nothing, toggleAll: nothing, clear: nothing };

function Orders() {
  const [filter, setFilter] = useState<OrderFilter>(scene.name === "usual" || scene.name === "waiting" ? EMPTY_FILTER : { ...EMPTY_FILTER, text: "Anna", days: "range" });
  return <OrdersPanel filter={filter} onFilter={setFilter} search={useRef<HTMLInputElement>(null)} />;
}

const DROPS = [null, "allowed", "forbidden", "over"] as const;

/** A column for each status, each in another state of a card that is being moved. */
function Board() {
  const texts = useTexts();
  return (
    <div className="gallery-board">
      {statuses.slice(0, 4).map((status, index) => {
        const cards = orders.filter((order) => order.status === status);
        return (
          <Column
            key={status}
            status={status}
            column={{ cards, count: cards.length, isComplete: index > 0 }}
            total={index === 0 ? 9_007_199_254_740_991 : undefined}
            changes={changes}
            drop={DROPS[index] ?? null}
            currentKey={cards[0]?.key ?? null}
            grabbedKey={cards[1]?.key ?? null}
            onPointerDown={nothing}
            onFocus={nothing}
            limits={DEFAULT_LIMITS}
            texts={texts}
          />
        );
      })}
      <p id="board-help" className="visually-hidden">
        help
      </p>
    </div>
  );
}

const ALARM_STATE = { count: scene.name === "extreme" ? 12_345 : 2, isBlocked: true };
const ALARM = { subscribe: () => nothing, getSnapshot: () => ALARM_STATE, acknowledge: nothing } as unknown as Alarm;

function Broken(): ReactNode {
  throw new RangeError("a component that cannot be drawn");
}
