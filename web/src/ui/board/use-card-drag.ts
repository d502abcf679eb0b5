import { useCallback, useEffect, useRef, useState, type PointerEvent as ReactPointerEvent } from "react";
import type { Order } from "../../state/order-list.ts";

export interface Drag {
  readonly order: Order;
  /** The status of the column below the pointer. */
  readonly over: string | null;
}

interface Options {
  canDrop: (order: Order, status: string) => boolean;
  onDrop: (order: Order, status: string) => void;
}

/** A mouse that moves further than this drags; a click moves less. */
const MIN_DISTANCE_PX = 6;
/** A finger has to rest this long before it drags: one that moves at once scrolls. */
const TOUCH_DELAY_MS = 300;
const MAX_TOUCH_MOVE_PX = 10;
/** Near its edges the board scrolls while a card is dragged. */
const EDGE_PX = 56;
const SCROLL_PX_PER_FRAME = 14;

/** Drags cards to columns (elements with `data-column`) with a mouse, a pen or a finger. `ghostRef`: the element that follows the pointer. */
export function useCardDrag({ canDrop, onDrop }: Options) {
  const [drag, setDrag] = useState<Drag | null>(null);
  const ghostRef = useRef<HTMLDivElement>(null);
  const boardRef = useRef<HTMLDivElement>(null);
  const options = useRef({ canDrop, onDrop });
  const cancel = useRef<() => void>(() => {});
  useEffect(() => {
    options.current = { canDrop, onDrop };
  });
  useEffect(() => () => cancel.current(), []);

  const onPointerDown = useCallback((event: ReactPointerEvent, order: Order) => {
    if (event.button !== 0 || !event.isPrimary) return;
    const isTouch = event.pointerType === "touch";
    const { pointerId, clientX: startX, clientY: startY } = event;
    const abort = new AbortController();
    const { signal } = abort;
    let [x, y] = [startX, startY];
    let dragging = false;
    let over: string | null = null;
    let frame = 0;

    const end = () => {
      abort.abort();
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      cancel.current = () => {};
      if (dragging) setDrag(null);
    };
    const follow = () => {
      if (ghostRef.current) ghostRef.current.style.transform = `translate(${x}px, ${y}px)`;
      const below = document.elementFromPoint(x, y)?.closest<HTMLElement>("[data-column]")?.dataset.column ?? null;
      if (below !== over) setDrag({ order, over: (over = below) });
    };
    const scroll = () => {
      frame = requestAnimationFrame(scroll);
      const board = boardRef.current;
      if (board === null) return;
      const { left, right } = board.getBoundingClientRect();
      const direction = x < left + EDGE_PX ? -1 : x > right - EDGE_PX ? 1 : 0;
      if (direction !== 0) board.scrollLeft += direction * SCROLL_PX_PER_FRAME;
      follow(); // the columns move below the pointer, and the ghost is drawn after the first frame
    };
    const begin = () => {
      dragging = true;
      setDrag({ order, over });
      navigator.vibrate?.(10);
      frame = requestAnimationFrame(scroll);
      // The click that ends the drag must not open the card.
      addEventListener("click", (click) => (click.preventDefault(), click.stopPropagation()), { capture: true, signal });
    };
    const timer = isTouch ? setTimeout(begin, TOUCH_DELAY_MS) : undefined;

    cancel.current();
    cancel.current = end;
    const listen = <K extends keyof WindowEventMap>(name: K, listener: (event: WindowEventMap[K]) => void) =>
      addEventListener(name, listener, { signal, passive: false, capture: true });
    listen("pointermove", (move) => {
      if (move.pointerId !== pointerId) return;
      [x, y] = [move.clientX, move.clientY];
      const distance = Math.hypot(x - startX, y - startY);
      if (dragging) follow();
      else if (isTouch && distance > MAX_TOUCH_MOVE_PX) end();
      else if (!isTouch && distance > MIN_DISTANCE_PX) begin();
    });
    listen("pointerup", (up) => {
      if (up.pointerId !== pointerId) return;
      if (!dragging) return end();
      [x, y] = [up.clientX, up.clientY];
      follow();
      if (over !== null && options.current.canDrop(order, over)) options.current.onDrop(order, over);
      setTimeout(end); // after the click
    });
    listen("pointercancel", (gone) => gone.pointerId === pointerId && end());
    listen("blur", (blur) => blur.target === window && end()); // and not when the card takes the focus of another element
    listen("keydown", (key) => {
      if (!dragging || key.key !== "Escape") return;
      key.preventDefault();
      key.stopPropagation();
      end();
    });
    // A dragging finger must neither scroll nor open the menu of the link.
    listen("touchmove", (touch) => dragging && touch.preventDefault());
    listen("contextmenu", (menu) => isTouch && menu.preventDefault());
  }, []);

  return { drag, ghostRef, boardRef, onPointerDown };
}
