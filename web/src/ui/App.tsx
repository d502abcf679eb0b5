import { Dashboard } from "./Dashboard.tsx";
import { SignIn } from "./SignIn.tsx";
import { useDashboard } from "./use-dashboard.ts";

export function App() {
  const access = useDashboard((snapshot) => snapshot.access);
  if (access === "checking") return null;
  return access === "sign-in" ? <SignIn /> : <Dashboard />;
}
