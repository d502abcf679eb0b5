import { useCallback, useLayoutEffect, useRef, useState, type RefObject } from "react";

/** Drawn beyond what can be seen, so that a quick flick finds rows there. */
const SPARE_ROWS = 8;

export interface VirtualRows {
  /** For the element that scrolls. */
  scroller: RefObject<HTMLDivElement | null>;
  onScroll: () => void;
  top: number;
  rowHeight: number;
  first: number;
  /** One past the last row to draw. */
  end: number;
  rowsInView: number;
  show: (index: number) => void;
}

/** Rows of one height, of which only those in view are drawn. The height is the style's: `--row` of the scroller, in rem. */
export function useVirtualRows(count: number): VirtualRows {
  const scroller = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [size, setSize] = useState({ rowHeight: 40, height: 600, header: 0 });

  const onScroll = useCallback(() => setTop(scroller.current?.scrollTop ?? 0), []);

  useLayoutEffect(() => {
    const element = scroller.current as HTMLDivElement;
    const measure = () => {
      const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
      const rowHeight = Number.parseFloat(getComputedStyle(element).getPropertyValue("--row")) * rem;
      const header = (element.firstElementChild as HTMLElement).offsetHeight;
      setSize({ rowHeight, height: element.clientHeight, header });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const rowsInView = Math.max(1, Math.floor((size.height - size.header) / size.rowHeight));
  const show = useCallback(
    (index: number) => {
      const element = scroller.current as HTMLDivElement;
      const rowTop = index * size.rowHeight;
      if (rowTop < element.scrollTop) element.scrollTop = rowTop;
      else {
        const least = rowTop + size.rowHeight - (size.height - size.header);
        if (element.scrollTop < least) element.scrollTop = least;
      }
    },
    [size],
  );
  return {
    scroller,
    onScroll,
    top,
    rowHeight: size.rowHeight,
    first: Math.max(0, Math.floor(top / size.rowHeight) - SPARE_ROWS),
    end: Math.min(count, Math.ceil((top + size.height) / size.rowHeight) + SPARE_ROWS),
    rowsInView,
    show,
  };
}
