import { useTranslations } from "../i18n.ts";
import { Modal } from "./Modal.tsx";

export function ShortcutsHelp({ onClose }: { onClose: () => void }) {
  const t = useTranslations();
  return (
    <Modal title={t.shortcuts} onClose={onClose}>
      <dl className="details">
        {Object.entries(t.shortcutDescriptions).map(([keys, description]) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{description}</dd>
          </div>
        ))}
      </dl>
    </Modal>
  );
}
