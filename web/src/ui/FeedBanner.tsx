import { useWebSocket } from "@orderwire/client/react";
import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";

/** Warns that what the page shows may be out of date, while the server is reached and says that no events reach it. */
export function FeedBanner() {
  const { status } = useWebSocket();
  const t = useTranslate();
  const format = useFormat();
  if (status.state !== "online" || status.live) return null;
  return (
    <p role="alert" className="feed-banner">
      {t("feedStopped", { time: format.time(status.since ?? null) })}
    </p>
  );
}
