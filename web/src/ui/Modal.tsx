import { useId, useLayoutEffect, useRef, type ReactNode } from "react";
import { useTranslate } from "../i18n.ts";
import * as icon from "./icons.tsx";

/** A native `<dialog>`: it traps the focus, closes with Esc, and restores the focus. */
export function Modal({ title, onClose, children }: { title: ReactNode; onClose: () => void; children: ReactNode }) {
  const t = useTranslate();
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  // A layout effect, since its cleanup runs while the dialog is still in the document: only then does close() restore the focus.
  useLayoutEffect(() => {
    const element = dialog.current as HTMLDialogElement;
    element.showModal();
    return () => element.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault(); // React closes it by unmounting
        onClose();
      }}
      onClick={(event) => event.target === event.currentTarget && onClose()}
    >
      <div className="modal">
        <header>
          <h2 id={titleId}>{title}</h2>
          <button type="button" aria-label={t("close")} onClick={onClose}>
            <icon.Close />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
