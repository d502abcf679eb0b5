import { useView } from "./use-live.ts";
import { Dashboard } from "./Dashboard.tsx";
import { SignIn } from "./SignIn.tsx";

export function App() {
  const access = useView((view) => view.access);
  if (access === "checking") return null;
  return access === "sign-in" ? <SignIn /> : <Dashboard />;
}
