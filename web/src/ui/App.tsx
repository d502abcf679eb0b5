import { Suspense, createElement, type ComponentType } from "react";
import type { View } from "../route.ts";
import type { Access } from "../state/dashboard-store.ts";
import { Dashboard } from "./Dashboard.tsx";
import { useOpenConnection } from "./use-connection-status.ts";
import { useDashboard } from "./use-dashboard.ts";
import { useLastKnown } from "./use-last-known.ts";
import { useRoute } from "./use-route.ts";
import { CustomerPage, LAZY_VIEWS, SignInOverlay, SignInPage, ViewerPage } from "./views.ts";

/** Not while nothing may be seen. */
function Connected() {
  useOpenConnection();
  useLastKnown();
  return null;
}

function viewFor(access: Access, view: View): ComponentType {
  if (access === "sign-in") return SignInPage;
  if (access === "own") return CustomerPage;
  if (access === "totals" && view !== "wall") return ViewerPage;
  return LAZY_VIEWS[view] ?? Dashboard;
}

export function App() {
  const access = useDashboard((snapshot) => snapshot.access);
  const mustSignIn = useDashboard((snapshot) => snapshot.signIn !== null);
  const { view } = useRoute();
  if (access === "checking") return null;
  return (
    <Suspense fallback={null}>
      {createElement(viewFor(access, view))}
      {access !== "sign-in" && <Connected />}
      {mustSignIn && access !== "sign-in" && (
        <Suspense fallback={null}>
          <SignInOverlay />
        </Suspense>
      )}
    </Suspense>
  );
}
