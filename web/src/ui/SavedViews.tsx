import { memo, useState } from "react";
import { useTranslate } from "../i18n.ts";
import { setPreferences, usePreferences } from "../preferences.ts";
import { viewHref } from "../route.ts";
import { filterQuery, isFiltered, type OrderFilter } from "../state/order-filter.ts";
import * as icon from "./icons.tsx";
import { Link } from "./Link.tsx";

const MAX_NAME_LENGTH = 40;

/** The user's named filters as links, and a field to name the present one. */
export const SavedViews = memo(function SavedViews({ filter }: { filter: OrderFilter }) {
  const t = useTranslate();
  const { savedViews } = usePreferences();
  const [name, setName] = useState<string | null>(null);
  const query = filterQuery(filter);
  const isSaved = savedViews.some((view) => view.query === query);
  if (savedViews.length === 0 && !isFiltered(filter)) return null;
  return (
    <nav className="saved-views" aria-label={t("savedViews")}>
      {savedViews.map((view) => (
        <span key={view.name} className="chip">
          <Link href={viewHref("list", view.query)} aria-current={view.query === query ? "true" : undefined}>
            <bdi>{view.name}</bdi>
          </Link>
          <button
            type="button"
            aria-label={t("removeView", { name: view.name })}
            onClick={() => setPreferences({ savedViews: savedViews.filter((other) => other !== view) })}
          >
            <icon.Close />
          </button>
        </span>
      ))}
      {isFiltered(filter) && !isSaved && name === null && (
        <button type="button" className="secondary" onClick={() => setName("")}>
          {t("saveView")}
        </button>
      )}
      {name !== null && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            const view = { name: name.trim(), query };
            if (view.name !== "") setPreferences({ savedViews: [...savedViews.filter((other) => other.name !== view.name), view] });
            setName(null);
          }}
        >
          <input
            autoFocus
            aria-label={t("viewName")}
            placeholder={t("viewName")}
            maxLength={MAX_NAME_LENGTH}
            value={name}
            onChange={(event) => setName(event.target.value)}
            onKeyDown={(event) => event.key === "Escape" && setName(null)}
          />
          <button type="submit" className="secondary">
            {t("save")}
          </button>
        </form>
      )}
    </nav>
  );
});
