import { useState } from "react";
import { api, ApiError } from "../../api.ts";
import { useTranslate } from "../../i18n.ts";
import { useDashboard } from "../use-dashboard.ts";
import styles from "./FirstOrder.module.css";

/** The starter table, where it is known which columns an order needs. */
const STARTER_TABLE = "public.orders";
const STARTER_STATUSES = "pending,confirmed,preparing,ready,delivering,delivered,cancelled";
/** The lines of the README. */
const LINES = ["make psql", "insert into orders (customer_name, total) values ('Иван Иванов', 150.50);"];

/** How to make the first order, while there is none. */
export default function FirstOrder() {
  const t = useTranslate();
  const meta = useDashboard((snapshot) => snapshot.meta);
  const isStarter = meta.table === STARTER_TABLE && meta.statuses.join() === STARTER_STATUSES;
  return (
    <div className={styles.first}>
      <p>{isStarter ? t("first.starter") : t("first.ownTable", { table: meta.table ?? "" })}</p>
      {isStarter && LINES.map((line) => <Line key={line} text={line} />)}
      {meta.test_order === true && <TestOrder />}
    </div>
  );
}

function Line({ text }: { text: string }) {
  const t = useTranslate();
  const [copied, setCopied] = useState(false);
  // Undefined on a page that is not secure.
  const { clipboard } = navigator;
  return (
    <div className={styles.line}>
      <code>{text}</code>
      {clipboard !== undefined && (
        <button type="button" className="secondary" onClick={() => void clipboard.writeText(text).then(() => setCopied(true), () => undefined)}>
          {copied ? t("first.copied") : t("first.copy")}
        </button>
      )}
    </div>
  );
}

function TestOrder() {
  const t = useTranslate();
  const [state, setState] = useState<"ready" | "sent" | string>("ready");
  const send = () => {
    setState("sent");
    api.sendTestOrder().catch((error: unknown) => setState(error instanceof ApiError ? error.message : t("signIn.unreachable")));
  };
  return (
    <>
      <button type="button" className="primary" disabled={state === "sent"} onClick={send}>
        {t("first.sendTest")}
      </button>
      {state !== "ready" && state !== "sent" && (
        <p className="error" role="alert">
          {t("first.testFailed", { reason: state })}
        </p>
      )}
    </>
  );
}
