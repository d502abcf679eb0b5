import { wsService } from "@orderwire/client";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { alertNewOrder } from "./alerts.ts";
import { api } from "./api.ts";
import { mainCurrency } from "./format.ts";
import { readTokenFromUrl } from "./login.ts";
import { loadLanguage } from "./i18n.ts";
import { getPreferences, initPreferences } from "./preferences.ts";
import { serverPath } from "./server.ts";
import { DashboardStore } from "./state/dashboard-store.ts";
import { announceVisibility } from "./tabs.ts";
import { getToken } from "./token.ts";
import { App } from "./ui/App.tsx";
import { PanelBoundary } from "./ui/PanelBoundary.tsx";
import { DashboardContext } from "./ui/use-dashboard.ts";
import { registerWorker, reloadAfterUpgrade } from "./worker-client.ts";
import "./styles/base.css";
import "./styles/page.css";
import "./styles/orders.css";
import "./styles/chart.css";

initPreferences();
readTokenFromUrl();
announceVisibility();
// The page may stay open unattended for days, so it never stops retrying. Tabs with a token do not share: each may have another token.
wsService.configure({ url: serverPath("/api/ws"), getToken, maxAttempts: Infinity, share: getToken() === null });
const store = new DashboardStore(wsService, api, alertNewOrder, { mainCurrency, period: getPreferences().period });
void store.checkAccess();
reloadAfterUpgrade();
registerWorker();

/** In English where the texts of another language cannot be loaded. */
function render(): void {
  createRoot(document.getElementById("root") as HTMLElement).render(
    <StrictMode>
      <DashboardContext value={store}>
        <PanelBoundary className="view">
          <App />
        </PanelBoundary>
      </DashboardContext>
    </StrictMode>,
  );
}

// No top-level await: the build would put everything that a lazy view shares with the page into files of their own.
void loadLanguage(getPreferences().language).then(render, render);
