import { useLayoutEffect, useRef, type ReactNode } from "react";
import { useWords } from "../words.ts";
import * as icon from "./icons.tsx";

/** The browser's own dialog: it keeps the focus inside, closes with Esc, and gives the focus back. */
export function Modal({ title, onClose, children }: { title: ReactNode; onClose: () => void; children: ReactNode }) {
  const words = useWords();
  const dialog = useRef<HTMLDialogElement>(null);
  // While it is still in the document: only then does closing give the focus back.
  useLayoutEffect(() => {
    const element = dialog.current as HTMLDialogElement;
    element.showModal();
    return () => element.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby="modal-title"
      onCancel={(event) => {
        event.preventDefault(); // it goes when it is no longer rendered
        onClose();
      }}
      onClick={(event) => event.target === event.currentTarget && onClose()}
    >
      <div className="modal">
        <header>
          <h2 id="modal-title">{title}</h2>
          <button type="button" aria-label={words.close} onClick={onClose}>
            <icon.Close />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
