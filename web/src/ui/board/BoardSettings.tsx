import { useTranslate } from "../../i18n.ts";
import { DEFAULT_LIMITS, setPreferences, usePreferences, type AgeLimits } from "../../preferences.ts";
import { statusLabel } from "../../status.ts";
import { Modal } from "../Modal.tsx";
import css from "./board.module.css";

const MAX_MINUTES = 100_000;

interface Props {
  statuses: readonly string[];
  visible: readonly string[];
  onClose: () => void;
}

/** Which statuses have a column, and from which age on its cards are late. Each change is stored at once. */
export function BoardSettings({ statuses, visible, onClose }: Props) {
  const t = useTranslate();
  const { board } = usePreferences();
  const show = (status: string, isShown: boolean) =>
    setPreferences({ board: { ...board, shown: statuses.filter((each) => (each === status ? isShown : visible.includes(each))) } });
  const limit = (status: string, change: Partial<AgeLimits>) => {
    const limits = { ...(board.limits[status] ?? DEFAULT_LIMITS), ...change };
    setPreferences({ board: { ...board, limits: { ...board.limits, [status]: limits } } });
  };
  return (
    <Modal title={t("boardSettings")} onClose={onClose}>
      <p className={css.note}>{t("limitsHelp")}</p>
      <ul className={css.settings}>
        {statuses.map((status) => {
          const limits = board.limits[status] ?? DEFAULT_LIMITS;
          const label = statusLabel(status, t);
          return (
            <li key={status}>
              <label className={css.check}>
                <input type="checkbox" checked={visible.includes(status)} onChange={(event) => show(status, event.target.checked)} />
                {label}
              </label>
              <Minutes label={t("lateFrom")} of={label} value={limits.late} onChange={(late) => limit(status, { late })} />
              <Minutes label={t("veryLateFrom")} of={label} value={limits.veryLate} onChange={(veryLate) => limit(status, { veryLate })} />
            </li>
          );
        })}
      </ul>
    </Modal>
  );
}

function Minutes({ label, of, value, onChange }: { label: string; of: string; value: number; onChange: (value: number) => void }) {
  return (
    <label className={css.minutes}>
      <span>{label}</span>
      <input
        type="number"
        min={0}
        max={MAX_MINUTES}
        inputMode="numeric"
        aria-label={`${of}: ${label}`}
        defaultValue={value}
        onChange={({ target }) => {
          // An empty or wrong number changes nothing; the field shows that it is not valid.
          if (target.validity.valid && target.value !== "") onChange(target.valueAsNumber);
        }}
      />
    </label>
  );
}
