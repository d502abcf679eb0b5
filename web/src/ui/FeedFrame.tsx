import { useRef } from "react";
import { useFormat } from "../format.ts";
import { useTranslate } from "../i18n.ts";
import { useConnectionStatus } from "./use-connection-status.ts";
import { useDashboardStore } from "./use-dashboard.ts";
import { useNow } from "./use-now.ts";

/** How long the page may take to connect when it is opened, before it says that it is not live. */
const FIRST_CONNECT_MS = 3_000;

/** A frame around the whole page while events do not flow, from the server or to it, that says for how long. */
export function FeedFrame() {
  const status = useConnectionStatus();
  const live = status.state === "online" && status.live;
  return live ? null : <NotLive toldSince={status.state === "online" ? status.since : undefined} />;
}

/** `toldSince`: what the server says of it, as RFC 3339. */
function NotLive({ toldSince }: { toldSince: string | undefined }) {
  const t = useTranslate();
  const format = useFormat();
  const store = useDashboardStore();
  const now = useNow(1_000);
  const openedAt = useRef(Date.now());
  const { lastMessageAt } = store;
  if (lastMessageAt === null && now - openedAt.current < FIRST_CONNECT_MS) return null;
  const told = Date.parse(toldSince ?? "");
  const since = Number.isNaN(told) ? (lastMessageAt ?? openedAt.current) : told;
  return (
    <div className="feed-frame" data-since={since}>
      {/* The time is no part of the alert, which would be read out every second. */}
      <p>
        <span role="alert" className="visually-hidden">
          {t("feedStopped", { time: format.clockSeconds(since) })}
        </span>
        <span aria-hidden="true">{t("notLiveSince", { duration: format.duration(now - since), time: format.clockSeconds(since) })}</span>
      </p>
    </div>
  );
}
