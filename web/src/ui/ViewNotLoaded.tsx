import { NotLoaded } from "./lazy-component.tsx";

/** In place of a view whose code could not be loaded. The address has all that the view needs. */
export function ViewNotLoaded() {
  return (
    <main className="dashboard totals-only">
      <NotLoaded />
    </main>
  );
}
