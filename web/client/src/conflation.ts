import { type AnalyticsUpdate, isEvent, type OrderEvent, type ServerMessage, type StreamEvent } from "./messages.js";

type Conflatable = OrderEvent | StreamEvent | AnalyticsUpdate;

interface Waiting {
  message: Conflatable;
  /** How many messages it stands for. */
  count: number;
}

/**
 * Messages that wait for delivery. Changes of one order that follow each other are combined into one event, and so are those of a row of
 * a stream; of the totals only the newest wait. Nothing is combined with a deletion: what came before it and what comes after it stay.
 */
export class Conflation {
  /** In the order of delivery: that in which the newest messages came. */
  #waiting = new Set<Waiting>();
  /** The last one that waits, by order. */
  #latest = new Map<string, Waiting>();

  get isEmpty(): boolean {
    return this.#waiting.size === 0;
  }

  /** Returns false if the message cannot wait, and must be delivered at once. */
  add(message: ServerMessage): boolean {
    if (!isEvent(message) && message.type !== "analytics_update") return false;
    const subject = subjectOf(message);
    const previous = this.#latest.get(subject);
    let waiting: Waiting = { message, count: 1 };
    if (previous && !isDeletion(previous.message) && !isDeletion(message)) {
      this.#waiting.delete(previous);
      waiting = { message: combine(previous.message, message), count: previous.count + 1 };
    }
    this.#waiting.add(waiting);
    this.#latest.set(subject, waiting);
    return true;
  }

  /** Returns what waits, in the order of delivery, and forgets it. */
  take(): Iterable<Readonly<Waiting>> {
    const taken = this.#waiting;
    this.#waiting = new Set();
    this.#latest = new Map();
    return taken;
  }
}

function subjectOf(message: Conflatable): string {
  return isEvent(message) ? JSON.stringify([isStreamEvent(message) ? message.stream : 0, message.key]) : message.type;
}

const isStreamEvent = (message: Conflatable): message is StreamEvent => "stream" in message;
const isDeletion = ({ type }: Conflatable): boolean => type.endsWith("_delete");
const CREATIONS = ["new_order", "row_insert"];
/** The type of two changes together: the first of these that one of them has. */
const TYPES = [...CREATIONS, "order_status_update"];

type Fields = Record<string, unknown> & { truncated?: string[] };

/** One event that says what `older` and `newer` say one after the other. Both are of the same order, and no deletions. */
function combine(older: Conflatable, newer: Conflatable): Conflatable {
  if (!isEvent(older) || !isEvent(newer)) return newer;
  const { actor: _, truncated: cutBefore = [], ...before }: Fields = { ...older };
  const { truncated: cutAfter = [], ...after }: Fields = { ...newer };
  const combined: Fields = { ...before, ...after };
  combined["type"] = TYPES.find((type) => type === older.type || type === newer.type) ?? newer.type;
  const isNew = CREATIONS.includes(combined["type"] as string);
  for (const name of Object.keys(combined).filter((field) => field.startsWith("previous_"))) {
    // The value before both changes. An order that is new had none.
    if (isNew) delete combined[name];
    else if (name in before) combined[name] = before[name];
  }
  // What the newer event had to leave out has changed too.
  for (const name of cutAfter) if (!(name in after)) delete combined[name];
  const truncated = [...new Set([...cutBefore.filter((name) => !(name in after)), ...cutAfter])];
  if (truncated.length) combined["truncated"] = truncated;
  return combined as unknown as Conflatable;
}
