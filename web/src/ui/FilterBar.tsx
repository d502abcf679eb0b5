import { memo, useEffect, useRef, useState, type RefObject } from "react";
import { useTranslate } from "../i18n.ts";
import { DAYS, EMPTY_FILTER, isFiltered, toggleStatus, type Days, type OrderFilter } from "../state/order-filter.ts";
import { statusLabel } from "../status.ts";
import * as icon from "./icons.tsx";
import { useStatuses } from "./use-statuses.ts";

/** The address changes so long after the last key: browsers limit how often a page may change it. */
const TYPING_DELAY_MS = 120;

interface Props {
  filter: OrderFilter;
  /** `typing`: the browser's back button shall not stop at each letter. */
  onFilter: (filter: OrderFilter, typing?: boolean) => void;
  search: RefObject<HTMLInputElement | null>;
  /** The user goes on to the list. */
  onLeave: () => void;
}

/** The fields by which the list is filtered. */
export const FilterBar = memo(function FilterBar({ filter, onFilter, search, onLeave }: Props) {
  const t = useTranslate();
  const [text, setText] = useTypedText(filter, onFilter);
  return (
    <div className="filter-bar">
      <label className="search">
        <icon.Search />
        <input
          ref={search}
          type="search"
          value={text}
          placeholder={t("searchPlaceholder")}
          aria-label={t("searchLabel")}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "ArrowDown") {
              event.preventDefault();
              onLeave();
            } else if (event.key === "Escape") {
              event.preventDefault(); // the browser empties the field itself, without an address
              if (text === "") event.currentTarget.blur();
              else setText("");
            }
          }}
        />
        <kbd aria-hidden="true">/</kbd>
      </label>
      <StatusSelect statuses={filter.statuses} onToggle={(status) => onFilter(toggleStatus(filter, status))} />
      <DaySelect filter={filter} onFilter={onFilter} />
      {isFiltered(filter) && (
        <button type="button" className="clear-filter" onClick={() => onFilter(EMPTY_FILTER)}>
          {t("clearFilter")}
          <icon.Close />
        </button>
      )}
    </div>
  );
});

/** What is typed, which becomes the filter's text a moment later. */
function useTypedText(filter: OrderFilter, onFilter: Props["onFilter"]): [string, (text: string) => void] {
  const [text, setText] = useState(filter.text);
  const latest = useRef({ filter, onFilter });
  latest.current = { filter, onFilter };
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => {
    clearTimeout(timer.current);
    setText(filter.text);
  }, [filter.text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const type = (typed: string) => {
    setText(typed);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      const { filter: present, onFilter: apply } = latest.current;
      if (typed !== present.text) apply({ ...present, text: typed }, true);
    }, TYPING_DELAY_MS);
  };
  return [text, type];
}

function StatusSelect({ statuses, onToggle }: { statuses: readonly string[]; onToggle: (status: string) => void }) {
  const t = useTranslate();
  const known = useStatuses().statuses;
  const all = [...known, ...statuses.filter((status) => !known.includes(status))];
  const [first] = statuses;
  const summary = first === undefined ? t("anyStatus") : statuses.length === 1 ? statusLabel(first, t) : t("statusesChosen", { count: statuses.length });
  const details = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      if (details.current && !details.current.contains(event.target as Node)) details.current.open = false;
    };
    addEventListener("pointerdown", close);
    return () => removeEventListener("pointerdown", close);
  }, []);
  return (
    <details
      className="status-select"
      ref={details}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !details.current?.open) return;
        event.stopPropagation();
        details.current.open = false;
        details.current.querySelector("summary")?.focus();
      }}
    >
      <summary aria-label={`${t("statusLabel")}: ${summary}`}>
        <bdi>{summary}</bdi>
      </summary>
      <fieldset>
        <legend className="visually-hidden">{t("statusLabel")}</legend>
        {all.map((status) => (
          <label key={status}>
            <input type="checkbox" checked={statuses.includes(status)} onChange={() => onToggle(status)} />
            <bdi>{statusLabel(status, t)}</bdi>
          </label>
        ))}
      </fieldset>
    </details>
  );
}

function DaySelect({ filter, onFilter }: { filter: OrderFilter; onFilter: Props["onFilter"] }) {
  const t = useTranslate();
  // A range without bounds is no filter, so the address does not say that the fields are open.
  const [open, setOpen] = useState(false);
  const days: Days = filter.days === "any" && open ? "range" : filter.days;
  const setBound = (bound: "from" | "to", day: string) => {
    const next = { ...filter, days: "range" as Days, [bound]: day };
    onFilter(next.from === "" && next.to === "" ? { ...next, days: "any" } : next);
  };
  return (
    <>
      <select
        aria-label={t("daysLabel")}
        value={days}
        onChange={({ target: { value } }) => {
          setOpen(value === "range");
          onFilter({ ...filter, days: value === "range" ? "any" : (value as Days), from: "", to: "" });
        }}
      >
        {DAYS.map((name) => (
          <option key={name} value={name}>
            {name === "any" ? t("anyDay") : t(`days.${name}`)}
          </option>
        ))}
      </select>
      {days === "range" &&
        (["from", "to"] as const).map((bound) => (
          <input
            key={bound}
            type="date"
            aria-label={t(bound === "from" ? "fromDay" : "toDay")}
            value={filter[bound]}
            min={bound === "to" ? filter.from : undefined}
            max={bound === "from" ? filter.to : undefined}
            onChange={(event) => setBound(bound, event.target.value)}
          />
        ))}
    </>
  );
}
