import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { loadLanguage } from "../src/i18n.ts";
import { getPreferences, initPreferences, setPreferences } from "../src/preferences.ts";
import { DashboardContext } from "../src/ui/use-dashboard.ts";
import { fixedService } from "./fixed-service.ts";
import { fixedStore } from "./fixed-store.ts";
import { Gallery } from "./Gallery.tsx";
import { scene } from "./scenes.ts";
import "../src/styles/base.css";
import "../src/styles/page.css";
import "../src/styles/orders.css";
import "../src/styles/chart.css";
import "./gallery.css";

/** Every request of a component is answered alike. */
globalThis.fetch = () => {
  const { answer } = scene;
  if (answer === null) return new Promise(() => {});
  return Promise.resolve(typeof answer === "number" ? new Response(null, { status: answer }) : Response.json(answer));
};
// A modal dialog would hide the other components.
HTMLDialogElement.prototype.showModal = function showModal(this: HTMLDialogElement) {
  this.setAttribute("open", "");
};
initPreferences();
setPreferences({ savedViews: [{ name: "Anna", query: "q=Anna" }], board: { shown: null, limits: {}, alarm: true } });

function render(): void {
  // One component fails by intention: React need not say so.
  createRoot(document.getElementById("root") as HTMLElement, { onCaughtError: () => {} }).render(
    <StrictMode>
      <DashboardContext value={fixedStore({ ...scene.store, service: fixedService(scene.connection) })}>
        <Gallery />
      </DashboardContext>
    </StrictMode>,
  );
}

void loadLanguage(getPreferences().language).then(render, render);
