import { memo, useState } from "react";
import { api } from "../api.ts";
import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import { saveBody } from "../state/csv-download.ts";
import { ordersQuery, type OrderFilter } from "../state/order-filter.ts";
import { openFileSink } from "./file-sink.ts";
import { useDashboardStore } from "./use-dashboard.ts";

type Progress = { state: "running"; bytes: number } | { state: "done" } | { state: "broken" };

/** Downloads all orders of the filter. Says so if the file is not whole. */
export const CsvButton = memo(function CsvButton({ filter }: { filter: OrderFilter }) {
  const t = useTranslate();
  const format = useFormat();
  const store = useDashboardStore();
  const [progress, setProgress] = useState<Progress | null>(null);

  const download = async () => {
    const query = ordersQuery(filter, Date.now(), store.search.timeZone);
    try {
      const sink = await openFileSink(() => `orders-${new Date().toISOString().slice(0, 10)}.csv`);
      setProgress({ state: "running", bytes: 0 });
      await saveBody(() => api.csv(query), sink, (bytes) => setProgress({ state: "running", bytes }));
      setProgress({ state: "done" });
    } catch (error) {
      setProgress((error as DOMException).name === "AbortError" ? null : { state: "broken" });
    }
  };

  const text =
    progress === null
      ? ""
      : progress.state === "running"
        ? t("csvRunning", { size: format.size(progress.bytes) })
        : t(progress.state === "done" ? "csvDone" : "csvBroken");
  return (
    <>
      <button type="button" className="secondary" title={t("csvHint")} disabled={progress?.state === "running"} onClick={() => void download()}>
        {t("csv")}
      </button>
      <span role="status" className={progress?.state === "broken" ? "csv-broken" : "csv-progress"} data-csv={progress?.state}>
        {text}
      </span>
    </>
  );
});
