import { Suspense } from "react";
import { Dashboard } from "./Dashboard.tsx";
import { SignIn } from "./SignIn.tsx";
import { useDashboard } from "./use-dashboard.ts";
import { useRoute } from "./use-route.ts";
import { LAZY_VIEWS } from "./views.ts";

export function App() {
  const access = useDashboard((snapshot) => snapshot.access);
  const View = LAZY_VIEWS[useRoute().view] ?? Dashboard;
  if (access === "checking") return null;
  if (access === "sign-in") return <SignIn />;
  return (
    <Suspense fallback={null}>
      <View />
    </Suspense>
  );
}
