import { useCallback, useMemo, useRef, useState } from "react";
import type { Order } from "../state/order-list.ts";

export interface ListSelection {
  /** The selected orders among those that are shown, in their order. */
  readonly orders: readonly Order[];
  readonly isSelected: (key: string) => boolean;
  /** With `range`: every order from the last one that was selected to this one. */
  readonly toggle: (key: string, range: boolean) => void;
  /** Selects every order that is shown, or none if all are selected. */
  readonly toggleAll: () => void;
  readonly clear: () => void;
}

/** The selected rows of a list. A row that the filter hides is not selected: an action must not change what the user does not see. */
export function useListSelection(shown: readonly Order[]): ListSelection {
  const [keys, setKeys] = useState<ReadonlySet<string>>(NONE);
  const anchor = useRef<string | null>(null);
  const latest = useRef(shown);
  latest.current = shown;
  const orders = useMemo(() => (keys.size === 0 ? [] : shown.filter(({ key }) => keys.has(key))), [shown, keys]);

  const toggle = useCallback((key: string, range: boolean) => {
    const from = range ? anchor.current : null;
    anchor.current = key;
    setKeys((before) => toggled(before, latest.current, key, from));
  }, []);
  const toggleAll = useCallback(() => {
    setKeys((before) => (latest.current.every(({ key }) => before.has(key)) ? NONE : new Set(latest.current.map(({ key }) => key))));
  }, []);
  const clear = useCallback(() => setKeys(NONE), []);
  const isSelected = useCallback((key: string) => keys.has(key), [keys]);
  return { orders, isSelected, toggle, toggleAll, clear };
}

const NONE: ReadonlySet<string> = new Set();

/** `from`: where a range begins; null for one order alone. A range is selected, or not, like the order at its end becomes. */
export function toggled(before: ReadonlySet<string>, shown: readonly Order[], key: string, from: string | null): ReadonlySet<string> {
  const keys = new Set(before);
  const select = !before.has(key);
  const [start, end] = [shown.findIndex((order) => order.key === from), shown.findIndex((order) => order.key === key)];
  const range = start < 0 || end < 0 ? [key] : shown.slice(Math.min(start, end), Math.max(start, end) + 1).map((order) => order.key);
  for (const each of range) {
    if (select) keys.add(each);
    else keys.delete(each);
  }
  return keys;
}
