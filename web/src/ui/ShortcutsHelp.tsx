import { useTranslate, type MessageKey } from "../i18n.ts";
import { Modal } from "./Modal.tsx";

const SHORTCUTS: Record<string, MessageKey> = {
  "/": "shortcut.search",
  "↑ ↓": "shortcut.rows",
  "PgUp PgDn Home End": "shortcut.fast",
  "Enter": "shortcut.open",
  "X": "shortcut.select",
  "S": "shortcut.status",
  "U": "shortcut.undo",
  "J K": "shortcut.neighbours",
  "␣": "shortcut.move",
  "Esc": "shortcut.clear",
  "?": "shortcut.help",
};

export function ShortcutsHelp({ onClose }: { onClose: () => void }) {
  const t = useTranslate();
  return (
    <Modal title={t("shortcuts")} onClose={onClose}>
      <dl className="details">
        {Object.entries(SHORTCUTS).map(([keys, description]) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{t(description)}</dd>
          </div>
        ))}
      </dl>
    </Modal>
  );
}
