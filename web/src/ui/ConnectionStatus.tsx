import { wsService, type ConnectionStatus as Status } from "@orderwire/client";
import { useWebSocket } from "@orderwire/client/react";
import { useWords, type Words } from "../words.ts";
import { useNow } from "./use-now.ts";

/** Whether what is on the page is what is true now; and if not, what is being done about it. */
export function ConnectionStatus() {
  const { status } = useWebSocket();
  const words = useWords();
  const online = status.state === "online";
  const canHurry = status.state === "waiting" || status.state === "closed";
  return (
    <div className={online ? "connection online" : "connection"}>
      <span role="status" className="connection-state" title={online && status.transport === "sse" ? words.overSse : undefined}>
        {/* Drawn by style, since the glyph differs from system to system; the text stays for whoever copies it. */}
        <span className="dot" aria-hidden="true">
          {online ? "🟢 " : "⚪ "}
        </span>
        {online ? words.online : words.offline}
      </span>
      <Detail status={status} words={words} />
      {canHurry && (
        <button type="button" className="now" title={words.nowHint} onClick={() => wsService.connect()}>
          {words.now}
        </button>
      )}
    </div>
  );
}

function Detail({ status, words }: { status: Status; words: Words }) {
  if (status.state === "connecting") {
    return <Small>{status.attempt === 0 ? words.connecting : `${words.attempt(status.attempt)}, ${words.connecting}`}</Small>;
  }
  if (status.state === "waiting") return <Small><Waiting status={status} words={words} /></Small>;
  if (status.state === "closed") return <Small>{words.closed(status.code)}</Small>;
  return null;
}

function Small({ children }: { children: React.ReactNode }) {
  return <span className="connection-detail">{children}</span>;
}

function Waiting({ status, words }: { status: Extract<Status, { state: "waiting" }>; words: Words }) {
  const now = useNow(250);
  const seconds = Math.max(0, Math.ceil((status.retryAt - now) / 1000));
  return `${words.attempt(status.attempt)} ${words.inSeconds(seconds)}`;
}
