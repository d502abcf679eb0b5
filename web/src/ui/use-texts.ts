import { useCallback, useMemo, type CSSProperties } from "react";
import { useFormat, type Format } from "../format.ts";
import { useTranslate, type Translate } from "../i18n.ts";
import { statusAppearance } from "../status.ts";
import { useDashboard } from "./use-dashboard.ts";

/** The class and the style of a status; they set the variables --status-color and --status-tint. */
export interface Appearance {
  readonly className: string;
  readonly style: CSSProperties;
}

/** What a row of a list is written with. */
export interface Texts {
  readonly t: Translate;
  readonly format: Format;
  readonly appearance: (status: string) => Appearance;
}

const NO_STYLE: CSSProperties = {};

/** The same function until the map lists other statuses. */
export function useStatusAppearance(): (status: string) => Appearance {
  const listed = useDashboard((snapshot) => snapshot.meta.statuses);
  return useCallback(
    (status) => {
      const { className, hue } = statusAppearance(status, listed);
      return { className, style: hue === undefined ? NO_STYLE : ({ "--status-hue": hue } as CSSProperties) };
    },
    [listed],
  );
}

/**
 * The same object until the language or the statuses change. A list calls it once and hands it to its rows: a row that subscribes by
 * itself costs twice as much to draw.
 */
export function useTexts(): Texts {
  const t = useTranslate();
  const format = useFormat();
  const appearance = useStatusAppearance();
  return useMemo(() => ({ t, format, appearance }), [t, format, appearance]);
}
