import { Suspense, useId, useRef, useState } from "react";
import { useTranslate } from "../../i18n.ts";
import { orderHref } from "../../route.ts";
import css from "./order.module.css";
import { lazyComponent } from "../lazy-component.tsx";

const QrCode = lazyComponent(() => import("./QrCode.tsx").then((module) => module.QrCode));

/** Names by which a machine reaches nothing but itself. */
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** The address of the order's page: to copy, and as a code for the camera of a phone. */
export function ShareOrder({ orderKey }: { orderKey: string }) {
  const t = useTranslate();
  const id = useId();
  const field = useRef<HTMLInputElement>(null);
  const [copied, setCopied] = useState<"yes" | "no" | null>(null);
  const [showsCode, setShowsCode] = useState(false);
  const address = location.origin + orderHref(orderKey);
  return (
    <section className={`panel ${css.panel}`} aria-labelledby="share-title">
      <h3 id="share-title">{t("linkToOrder")}</h3>
      <div className={css.share}>
        <input id={id} ref={field} readOnly aria-labelledby="share-title" value={address} onFocus={(event) => event.target.select()} />
        <button type="button" onClick={() => void copy(address, field.current).then((done) => setCopied(done ? "yes" : "no"))}>
          {t("copyLink")}
        </button>
        <button type="button" aria-expanded={showsCode} onClick={() => setShowsCode(!showsCode)}>
          {t("qrCode")}
        </button>
      </div>
      <p role="status" className={css.note}>
        {copied === null ? "" : t(copied === "yes" ? "linkCopied" : "linkNotCopied")}
      </p>
      {LOOPBACK.test(location.hostname) && <p className={css.note}>{t("linkOnlyHere", { host: location.hostname })}</p>}
      {showsCode && (
        <Suspense fallback={null}>
          <QrCode text={address} label={t("qrCodeOf", { address })} />
        </Suspense>
      )}
    </section>
  );
}

/** Without a secure origin (http on another machine) there is no clipboard: then the text is selected for the user to copy. */
async function copy(text: string, field: HTMLInputElement | null): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    field?.focus();
    field?.select();
    return document.execCommand("copy");
  }
}
