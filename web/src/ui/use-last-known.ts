import { useEffect, useRef } from "react";
import { formatFor, mainCurrency } from "../format.ts";
import { translatorFor } from "../i18n.ts";
import { usePreferences } from "../preferences.ts";
import { mainRevenue } from "../state/order-summary.ts";
import { rememberLastKnown } from "../worker-client.ts";
import { useConnectionStatus } from "./use-connection-status.ts";
import { useDashboard } from "./use-dashboard.ts";
import { useNow } from "./use-now.ts";

const MIN_INTERVAL_MS = 5_000;
/** While nothing changes, the totals are stored as of a new time this often. */
const MAX_INTERVAL_MS = 60_000;

/** Keeps the totals for the page that the service worker shows when the server cannot be reached. */
export function useLastKnown(): void {
  const totals = useDashboard((snapshot) => snapshot.totals);
  const { language } = usePreferences();
  const status = useConnectionStatus();
  const live = status.state === "online" && status.live;
  const minute = useNow(MAX_INTERVAL_MS);
  const storedAt = useRef(0);
  useEffect(() => {
    if (totals === null || !live) return;
    const store = () => {
      const at = new Date().toISOString();
      storedAt.current = Date.now();
      const t = translatorFor(language);
      const format = formatFor(language);
      rememberLastKnown({
        language,
        title: t("offline.title"),
        asOf: t("offline.asOf", { time: format.dateTime(at) }),
        totals: [
          { label: t("totalOrders"), value: format.count(totals.total_orders) },
          { label: t("totalRevenue"), value: format.money(mainRevenue(totals, mainCurrency)) },
          { label: t("pendingOrders"), value: format.count(totals.pending_orders) },
        ],
        retry: t("offline.retry"),
      });
    };
    const timer = setTimeout(store, Math.max(0, storedAt.current + MIN_INTERVAL_MS - Date.now()));
    return () => clearTimeout(timer);
  }, [totals, language, live, minute]);
}
