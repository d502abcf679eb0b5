import { useTranslate } from "../i18n.ts";

/** In place of a view whose code could not be loaded, as while the server is away. The address has all that the view needs. */
export function ViewNotLoaded() {
  const t = useTranslate();
  return (
    <main className="dashboard totals-only">
      <p className="error" role="alert">
        {t("viewNotLoaded")}{" "}
        <button type="button" onClick={() => location.reload()}>
          {t("retry")}
        </button>
      </p>
    </main>
  );
}
