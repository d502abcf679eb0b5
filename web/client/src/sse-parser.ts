import type { ConnectionHandlers } from "./connection.js";

/** Parses `text/event-stream` (HTML standard, section 9.2.6). Only the fields that the client needs: `id` and `data`. */
export class SseParser {
  #buffer = "";
  #id: string | undefined;
  #data: string[] = [];

  constructor(private readonly handlers: Pick<ConnectionHandlers, "onMessage" | "onCursor">) {}

  feed(chunk: string): void {
    const text = this.#buffer + chunk;
    // A final carriage return may be the first half of a CRLF.
    const complete = text.endsWith("\r") ? text.length - 1 : text.length;
    const lines = text.slice(0, complete).split(/\r\n|\n|\r/);
    this.#buffer = lines.pop() + text.slice(complete);
    for (const line of lines) this.#parseLine(line);
  }

  #parseLine(line: string): void {
    if (line === "") {
      if (this.#data.length) this.handlers.onMessage(this.#data.join("\n"));
      else if (this.#id !== undefined) this.handlers.onCursor(this.#id);
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
