import { wsService } from "@orderwire/client";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { alertNewOrder } from "./alerts.ts";
import { api } from "./api.ts";
import { startPreferences } from "./preferences.ts";
import { Live } from "./state/live.ts";
import { getToken, takeTokenFromAddress } from "./token.ts";
import { App } from "./ui/App.tsx";
import { LiveContext } from "./ui/use-live.ts";
import "./styles/base.css";
import "./styles/page.css";
import "./styles/orders.css";
import "uplot/dist/uPlot.min.css";
import "./styles/chart.css";

startPreferences();
takeTokenFromAddress();
// A page on a wall never gives up.
wsService.configure({ getToken, maxAttempts: Infinity, share: getToken() === null });
const live = new Live(wsService, api, alertNewOrder);
void live.checkAccess();

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <LiveContext value={live}>
      <App />
    </LiveContext>
  </StrictMode>,
);
