import type { Actor } from "@orderwire/client";

/** What a user has done to an order, until its event has come. */
export interface StatusChange {
  readonly key: string;
  /** For people. */
  readonly number: string;
  readonly from: string;
  readonly to: string;
  /**
   * "waiting": not sent yet. "unknown": the server has not answered, and may have changed the order or not. "changed": the server has
   * answered, and the event is still to come.
   */
  readonly state: "waiting" | "sent" | "unknown" | "changed";
}

/** How a change ended. */
export type Outcome =
  /** `id`: of its event, if that is known. */
  | { kind: "changed"; id: string | null }
  /** Another change came first: the order has this status. */
  | { kind: "faster"; status: string; actor: Actor | null }
  /** The server forbids it; `message` is its text, in English, and `reason` its code, if there is one. */
  | { kind: "refused"; reason: string | null; message: string }
  /** The order does not exist any more. */
  | { kind: "gone" }
  /** It was not carried out: not sent, since the server did not answer an earlier one, or found to have had no effect. */
  | { kind: "unchanged" };

/** The progress and the result of one action of the user, on one or several orders. */
export interface Notice {
  readonly key: number;
  readonly to: string;
  /** It reverses an earlier action; the orders may have got different statuses. */
  readonly isUndo: boolean;
  /** Of the orders that it changes. */
  readonly numbers: readonly string[];
  /** How many of the chosen orders had the status already, and were left alone. */
  readonly already: number;
  readonly unknown: number;
  /** Of the orders that are done with. */
  readonly outcomes: readonly Outcome[];
  readonly canUndo: boolean;
}

export interface StatusChangesSnapshot {
  /** By the key of the order. */
  readonly changes: ReadonlyMap<string, StatusChange>;
  /** Oldest first. */
  readonly notices: readonly Notice[];
}

/** The order as the user sees it. */
export interface ChangedOrder {
  readonly key: string;
  readonly number: string;
  readonly status: string;
}
