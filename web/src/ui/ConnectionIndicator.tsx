import { wsService, type ConnectionStatus } from "@orderwire/client";
import { useFormat } from "../format.ts";
import { useTranslate, type Translate } from "../i18n.ts";
import { useConnectionStatus } from "./use-connection-status.ts";
import { useDashboardStore } from "./use-dashboard.ts";
import { useNow } from "./use-now.ts";

/** Whether the page is up to date, and when the next attempt starts if not. */
export function ConnectionIndicator() {
  const status = useConnectionStatus();
  const t = useTranslate();
  const online = status.state === "online";
  const live = online && status.live;
  const canRetryNow = status.state === "waiting" || status.state === "closed";
  return (
    <div className={`connection${online ? (live ? " online" : " online not-live") : ""}`}>
      <span role="status" className="connection-state" title={online && status.transport === "sse" ? t("overSse") : undefined}>
        {/* CSS draws the dot, since the emoji looks different on each system. The text is for copying the line. */}
        <span className="dot" aria-hidden="true">
          {live ? "🟢 " : online ? "🟡 " : "⚪ "}
        </span>
        {live ? t("online") : online ? t("notLive") : t("offline")}
      </span>
      <AsOf status={status} t={t} />
      <Detail status={status} t={t} />
      {canRetryNow && (
        <button type="button" className="retry-now" title={t("retryNowHint")} onClick={() => wsService.connect()}>
          {t("retryNow")}
        </button>
      )}
    </div>
  );
}

/** The time of what the page shows: of the server's last sign of life, or since when it gets no events. */
function AsOf({ status, t }: { status: ConnectionStatus; t: Translate }) {
  const format = useFormat();
  const { lastMessageAt } = useDashboardStore();
  useNow(500);
  const since = status.state === "online" && !status.live ? Date.parse(status.since ?? "") : NaN;
  const at = Number.isNaN(since) ? lastMessageAt : since;
  if (at === null) return null;
  return (
    <time className="connection-detail" data-as-of={at} dateTime={new Date(at).toISOString()}>
      {t("asOf", { time: format.clockSeconds(at) })}
    </time>
  );
}

function Detail({ status, t }: { status: ConnectionStatus; t: Translate }) {
  if (status.state === "connecting") {
    return <DetailText>{status.attempt === 0 ? t("connecting") : `${t("attempt", { n: status.attempt })}, ${t("connecting")}`}</DetailText>;
  }
  if (status.state === "waiting") return <DetailText><RetryCountdown status={status} t={t} /></DetailText>;
  if (status.state === "closed") return <DetailText>{t("closed", { code: String(status.code) })}</DetailText>;
  return null;
}

function DetailText({ children }: { children: React.ReactNode }) {
  return <span className="connection-detail">{children}</span>;
}

function RetryCountdown({ status, t }: { status: Extract<ConnectionStatus, { state: "waiting" }>; t: Translate }) {
  const now = useNow(250);
  const seconds = Math.max(0, Math.ceil((status.retryAt - now) / 1000));
  return `${t("attempt", { n: status.attempt })} ${t("inSeconds", { n: seconds })}`;
}
