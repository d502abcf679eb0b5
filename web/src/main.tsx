import { wsService } from "@orderwire/client";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { alertNewOrder } from "./alerts.ts";
import { api } from "./api.ts";
import { mainCurrency } from "./format.ts";
import { getPreferences, initPreferences } from "./preferences.ts";
import { serverPath } from "./server.ts";
import { DashboardStore } from "./state/dashboard-store.ts";
import { getToken, readTokenFromUrl } from "./token.ts";
import { App } from "./ui/App.tsx";
import { DashboardContext } from "./ui/use-dashboard.ts";
import "./styles/base.css";
import "./styles/page.css";
import "./styles/orders.css";
import "./styles/chart.css";

initPreferences();
readTokenFromUrl();
// The page may stay open unattended for days, so it never stops retrying. Tabs with a token do not share: each may have another token.
wsService.configure({ url: serverPath("/api/ws"), getToken, maxAttempts: Infinity, share: getToken() === null });
const store = new DashboardStore(wsService, api, alertNewOrder, { mainCurrency, period: getPreferences().period });
void store.checkAccess();

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <DashboardContext value={store}>
      <App />
    </DashboardContext>
  </StrictMode>,
);
