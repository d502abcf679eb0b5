import type { CSSProperties } from "react";
import { useTranslate } from "../i18n.ts";
import { statusAppearance, statusLabel } from "../status.ts";
import { useDashboard } from "./use-dashboard.ts";

export function StatusBadge({ status, className = "" }: { status: string; className?: string }) {
  const t = useTranslate();
  const appearance = useStatusAppearance()(status);
  return (
    <span className={`badge ${appearance.className} ${className}`} style={appearance.style}>
      {statusLabel(status, t)}
    </span>
  );
}

/** Returns a function that gives the class and the style of a status; they set the variables --status-color and --status-tint. */
export function useStatusAppearance(): (status: string) => { className: string; style: CSSProperties } {
  const listed = useDashboard((snapshot) => snapshot.meta.statuses);
  return (status) => {
    const { className, hue } = statusAppearance(status, listed);
    return { className, style: hue === undefined ? {} : ({ "--status-hue": hue } as CSSProperties) };
  };
}
