import { lazy, type ComponentType } from "react";
import { useTranslate } from "../i18n.ts";

/**
 * A component that is loaded when it is first shown. If it cannot be loaded, as while the server is away, its place says so: the rest of
 * the page stays.
 */
export function lazyComponent<Props>(load: () => Promise<ComponentType<Props>>, instead: ComponentType = NotLoaded) {
  return lazy(async () => ({ default: await load().catch(() => instead as ComponentType<Props>) }));
}

/** The browser may not fetch a file again that it could not get: the page is loaded anew. */
export function NotLoaded() {
  const t = useTranslate();
  return (
    <p className="error" role="alert">
      {t("viewNotLoaded")}{" "}
      <button type="button" onClick={() => location.reload()}>
        {t("retry")}
      </button>
    </p>
  );
}
