import { useTranslate } from "../i18n.ts";
import type { ListSelection } from "./list-selection.ts";
import * as icon from "./icons.tsx";
import css from "./selection-bar.module.css";
import { useWriteBlock } from "./use-status-changes.ts";

/** How many orders are selected, and what can be done with them. */
export function SelectionBar({ selection, onMenu }: { selection: ListSelection; onMenu: () => void }) {
  const t = useTranslate();
  const block = useWriteBlock();
  return (
    <div className={css.bar} role="group" aria-label={t("selection")}>
      <p role="status">{t("nSelected", { count: selection.orders.length })}</p>
      <button type="button" className={css.action} disabled={block !== null} aria-describedby={block === null ? undefined : "selection-block"} onClick={onMenu}>
        {t("changeStatus")} <kbd aria-hidden="true">S</kbd>
      </button>
      {block !== null && (
        <small id="selection-block" className={css.block}>
          {block}
        </small>
      )}
      <button type="button" className={css.clear} onClick={selection.clear}>
        {t("clearSelection")}
        <icon.Close />
      </button>
    </div>
  );
}
