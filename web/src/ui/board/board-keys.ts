import type { Order } from "../../state/order-list.ts";

export interface ShownColumn {
  status: string;
  cards: readonly Order[];
}

const STEPS: Record<string, [columns: number, cards: number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** The card that an arrow key leads to from a card, past empty columns; undefined if there is none. `rtl`: columns run from right to left. */
export function cardBeside(columns: readonly ShownColumn[], key: string, arrow: string, rtl: boolean): Order | undefined {
  const step = STEPS[arrow];
  const column = columns.findIndex(({ cards }) => cards.some((card) => card.key === key));
  const index = columns[column]?.cards.findIndex((card) => card.key === key) ?? -1;
  if (step === undefined || index < 0) return undefined;
  if (step[1] !== 0) return columns[column]?.cards[index + step[1]];
  const direction = rtl ? -step[0] : step[0];
  for (let next = column + direction; next >= 0 && next < columns.length; next += direction) {
    const cards = columns[next]?.cards ?? [];
    if (cards.length > 0) return cards[Math.min(index, cards.length - 1)];
  }
  return undefined;
}

/** The next status in a direction that the order may get, or its own; the same status if there is none. */
export function nextTarget(statuses: readonly string[], target: string, arrow: string, rtl: boolean, canDrop: (status: string) => boolean): string {
  const direction = (STEPS[arrow]?.[0] ?? 0) * (rtl ? -1 : 1);
  if (direction === 0) return target;
  for (let index = statuses.indexOf(target) + direction; index >= 0 && index < statuses.length; index += direction) {
    const status = statuses[index] as string;
    if (canDrop(status)) return status;
  }
  return target;
}
