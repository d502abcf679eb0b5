import { wsService } from "@orderwire/client";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import App from "./App.tsx";

wsService.configure({ url: import.meta.env.VITE_WS_URL, maxAttempts: Infinity });

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
