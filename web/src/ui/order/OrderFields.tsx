import { useFormat } from "../../format.ts";
import { useTranslate } from "../../i18n.ts";
import type { Order } from "../../state/order-list.ts";
import { readableName } from "../../status.ts";
import { DataValue } from "./DataValue.tsx";
import css from "./order.module.css";

/** All that is known of the order, with the columns that the table's map adds. */
export function OrderFields({ order }: { order: Order }) {
  const t = useTranslate();
  const format = useFormat();
  return (
    <section className={`panel ${css.panel}`} aria-labelledby="fields-title">
      <h3 id="fields-title">{t("orderData")}</h3>
      <dl className={`details ${css.fields}`}>
        {order.number !== order.key && (
          <div>
            <dt>{t("key")}</dt>
            <dd>{order.key}</dd>
          </div>
        )}
        <div>
          <dt>{t("columns.customer")}</dt>
          <dd>{order.customer ?? "–"}</dd>
        </div>
        <div>
          <dt>{t("columns.total")}</dt>
          <dd className="details-total">{format.money(order.total, order.currency)}</dd>
        </div>
        <div>
          <dt>{t("createdAt")}</dt>
          <dd>{format.dateTime(order.createdAt)}</dd>
        </div>
        {Object.entries(order.data ?? {}).map(([name, value]) => (
          <div key={`data ${name}`}>
            <dt title={name}>{readableName(name)}</dt>
            <dd>
              <DataValue value={value} />
            </dd>
          </div>
        ))}
      </dl>
      {order.truncated.length > 0 && <p className={css.note}>{t("truncated")}</p>}
    </section>
  );
}
