import { type Schema, typeText } from "./documents.ts";

type Child = Node | string | undefined;

/** An element with attributes and children. Texts are inserted as texts. */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** A text in which what stands between backticks is code. */
export const prose = (text: string): HTMLElement =>
  element("span", {}, ...text.split("`").map((part, index) => (index % 2 === 1 ? element("code", {}, part) : part)));

export const json = (value: unknown): HTMLElement => element("pre", { tabindex: "0" }, JSON.stringify(value, null, 2));

/** The members of an object, as a table. */
export function members(schema: Schema): HTMLElement | undefined {
  const rows = Object.entries(schema.properties ?? {});
  if (rows.length === 0) return undefined;
  return element(
    "table",
    {},
    ...rows.map(([name, member]) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, name, schema.required?.includes(name) ? "" : "?"),
        element("td", {}, element("code", {}, typeText(member))),
        element("td", {}, prose(member.description ?? "")),
      ),
    ),
  );
}

/** A part that is folded until a click. */
export function fold(summary: (Node | string)[], id: string, ...children: Child[]): HTMLDetailsElement {
  return element("details", { id }, element("summary", {}, ...summary), ...children);
}
