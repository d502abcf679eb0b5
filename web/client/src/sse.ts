import type { LineEvents } from "./line.js";

/** Takes `text/event-stream` apart (HTML standard, section 9.2.6), as far as this protocol uses it: `id` and `data`. */
export class SseParser {
  #rest = "";
  #id: string | undefined;
  #data: string[] = [];

  constructor(private readonly events: Pick<LineEvents, "frame" | "position">) {}

  feed(chunk: string): void {
    const text = this.#rest + chunk;
    // A carriage return at the end may be the first half of a line's end.
    const complete = text.endsWith("\r") ? text.length - 1 : text.length;
    const lines = text.slice(0, complete).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + text.slice(complete);
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    if (line === "") {
      if (this.#data.length) this.events.frame(this.#data.join("\n"));
      else if (this.#id !== undefined) this.events.position(this.#id);
      this.#id = undefined;
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    if (name === "id") this.#id = value;
  }
}
