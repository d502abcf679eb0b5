import type { RefObject } from "react";
import { statusLabel } from "../status.ts";
import { useTexts, type Texts } from "./use-texts.ts";

interface Props {
  status: string;
  className?: string;
}

export function StatusBadge(props: Props) {
  return <Badge {...props} texts={useTexts()} />;
}

/** For lists, which hand the texts to their rows. */
export function Badge({ status, className = "", texts, ref }: Props & { texts: Texts; ref?: RefObject<HTMLSpanElement | null> }) {
  const appearance = texts.appearance(status);
  return (
    <span className={`badge ${appearance.className} ${className}`} style={appearance.style} ref={ref}>
      {statusLabel(status, texts.t)}
    </span>
  );
}
