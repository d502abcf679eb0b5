import { useCallback, useLayoutEffect, useRef, useState, type RefObject } from "react";

/** Rows rendered above and below the visible ones, so that fast scrolling does not show empty space. */
const OVERSCAN_ROWS = 8;

export interface VirtualRows {
  /** For the scrolling element. */
  scrollRef: RefObject<HTMLDivElement | null>;
  onScroll: () => void;
  scrollTop: number;
  /** In pixels. */
  rowHeight: number;
  /** The rows to render: `startIndex` up to, not including, `endIndex`. */
  startIndex: number;
  endIndex: number;
  /** The number of rows that fit into the visible area. */
  pageSize: number;
  scrollToRow: (index: number) => void;
}

/** Renders only the visible ones of many rows of the same height, given in rem by the CSS variable `--row-height` of the scrolling element. */
export function useVirtualRows(count: number): VirtualRows {
  const scrollRef = useRef<HTMLDivElement>(null);
  const [scrollTop, setScrollTop] = useState(0);
  const [size, setSize] = useState({ rowHeight: 40, height: 600, headerHeight: 0 });

  const onScroll = useCallback(() => setScrollTop(scrollRef.current?.scrollTop ?? 0), []);

  useLayoutEffect(() => {
    const element = scrollRef.current as HTMLDivElement;
    const measure = () => {
      const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
      const rowHeight = Number.parseFloat(getComputedStyle(element).getPropertyValue("--row-height")) * rem;
      const headerHeight = (element.firstElementChild as HTMLElement).offsetHeight;
      setSize({ rowHeight, height: element.clientHeight, headerHeight });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const pageSize = Math.max(1, Math.floor((size.height - size.headerHeight) / size.rowHeight));
  const scrollToRow = useCallback(
    (index: number) => {
      const element = scrollRef.current as HTMLDivElement;
      const rowTop = index * size.rowHeight;
      if (rowTop < element.scrollTop) element.scrollTop = rowTop;
      else {
        const minScrollTop = rowTop + size.rowHeight - (size.height - size.headerHeight);
        if (element.scrollTop < minScrollTop) element.scrollTop = minScrollTop;
      }
    },
    [size],
  );
  return {
    scrollRef,
    onScroll,
    scrollTop,
    rowHeight: size.rowHeight,
    startIndex: Math.max(0, Math.floor(scrollTop / size.rowHeight) - OVERSCAN_ROWS),
    endIndex: Math.min(count, Math.ceil((scrollTop + size.height) / size.rowHeight) + OVERSCAN_ROWS),
    pageSize,
    scrollToRow,
  };
}
