/**
 * The service worker. It answers nothing from a cache but one page, when the server cannot be reached: what was known last, and as of
 * when. It never stores an asset or an answer of the server's API, so an upgraded server is never seen with old files. It has no imports,
 * since the browser loads it as one script.
 */

/** What the page knows, for people. The texts are in the user's language. */
interface LastKnown {
  language: string;
  title: string;
  /** Says as of when it was so. */
  asOf: string;
  totals: { label: string; value: string }[];
  retry: string;
}

const worker = self as unknown as ServiceWorkerGlobalScope;
const STORE = "orderwire-last-known";
/** How often the offline page looks for the server, in milliseconds. */
const RETRY_MS = 15_000;
/** A proxy's answers in place of the server's. */
const SERVER_AWAY = [502, 503, 504];

worker.addEventListener("install", () => void worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("message", (event) => {
  const { type, known } = event.data as { type: string; known: LastKnown };
  event.waitUntil(type === "forget" ? caches.delete(STORE) : caches.open(STORE).then((store) => store.put(storeKey(), Response.json(known))));
});

worker.addEventListener("fetch", (event) => {
  if (event.request.mode === "navigate") event.respondWith(openPage(event.request));
});

worker.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(openAt((event.notification.data as { href: string }).href));
});

function storeKey(): string {
  return `${worker.registration.scope}/last-known`;
}

async function openPage(request: Request): Promise<Response> {
  try {
    const response = await fetch(request);
    if (!SERVER_AWAY.includes(response.status)) return response;
  } catch {
    // No network, or no server.
  }
  const stored = await (await caches.open(STORE)).match(storeKey());
  const known = stored === undefined ? null : ((await stored.json()) as LastKnown);
  const nonce = crypto.randomUUID();
  return new Response(offlinePage(known, nonce), {
    status: 503,
    headers: {
      "Content-Type": "text/html; charset=utf-8",
      "Cache-Control": "no-store",
      "Content-Security-Policy": `default-src 'none'; connect-src 'self'; img-src data:; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'`,
    },
  });
}

/**
 * In English, and without totals, if the page has never been open while the server was there. Without an icon: browsers would ask
 * the server for one.
 */
function offlinePage(known: LastKnown | null, nonce: string): string {
  const { language, title, asOf, totals, retry } = known ?? {
    language: "en",
    title: "The server cannot be reached",
    asOf: "",
    totals: [],
    retry: "Try again",
  };
  const rows = totals.map(({ label, value }) => `<dt>${escaped(label)}</dt><dd>${escaped(value)}</dd>`).join("");
  return `<!doctype html>
<html lang="${escaped(language)}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>⚪ Orderwire</title>
<link rel="icon" href="data:,">
<style nonce="${nonce}">
body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 1rem/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText }
main { padding: 1.5rem; max-width: 32rem } h1 { font-size: 1.375rem } dt { opacity: .8 } dd { margin: 0 0 .75rem; font-size: 1.75rem; font-weight: 600 }
a { color: LinkText; display: inline-block; padding: .5rem 0 }
</style>
<main><h1>${escaped(title)}</h1><p>${escaped(asOf)}</p><dl>${rows}</dl><a href="">${escaped(retry)}</a></main>
<script nonce="${nonce}">
const look = () => fetch(location.href).then((answer) => answer.ok && location.reload(), () => undefined);
setInterval(look, ${RETRY_MS});
addEventListener("online", look);
</script>
</html>`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Shows a window of the page at this address: one that is open already, or a new one. */
async function openAt(href: string): Promise<void> {
  const windows = await worker.clients.matchAll({ type: "window" });
  const [open] = windows;
  if (open === undefined) {
    await worker.clients.openWindow(href);
    return;
  }
  open.postMessage({ type: "open", href });
  await open.focus();
}
