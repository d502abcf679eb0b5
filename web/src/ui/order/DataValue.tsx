import type { ReactNode } from "react";
import { useFormat } from "../../format.ts";
import { useTranslate } from "../../i18n.ts";
import { readableName } from "../../status.ts";
import css from "./order.module.css";

/** Deeper values are shown as JSON. */
const MAX_DEPTH = 4;
/** As PostgreSQL writes a timestamp in JSON, with or without a zone. */
const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)?$/;

/** A value of `data`, which may be any JSON, readable: lists as lists, objects as names with values. */
export function DataValue({ value, depth = 0 }: { value: unknown; depth?: number }): ReactNode {
  const t = useTranslate();
  const format = useFormat();
  if (value === null || value === "") return "–";
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (typeof value === "string") return TIMESTAMP.test(value) ? <time dateTime={value} title={value}>{format.dateTime(value)}</time> : value;
  if (typeof value !== "object") return String(value);
  if (depth >= MAX_DEPTH) return <code>{JSON.stringify(value)}</code>;
  if (Array.isArray(value)) {
    if (value.length === 0) return "–";
    return (
      <ul className={css.list}>
        {value.map((item, index) => (
          <li key={index}>
            <DataValue value={item} depth={depth + 1} />
          </li>
        ))}
      </ul>
    );
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return "–";
  return (
    <dl className={css.nested}>
      {entries.map(([name, item]) => (
        <div key={name}>
          <dt title={name}>{readableName(name)}</dt>
          <dd>
            <DataValue value={item} depth={depth + 1} />
          </dd>
        </div>
      ))}
    </dl>
  );
}
