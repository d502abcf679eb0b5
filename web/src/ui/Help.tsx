import { useWords } from "../words.ts";
import { Modal } from "./Modal.tsx";

export function Help({ onClose }: { onClose: () => void }) {
  const words = useWords();
  return (
    <Modal title={words.keys} onClose={onClose}>
      <dl className="details">
        {Object.entries(words.keysHelp).map(([keys, what]) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Modal>
  );
}
