"""The network side as a whole: listen, serve, drain."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http import HttpProcessingError

from gateway.assets import ASSETS, Assets
from gateway.errors import errors_as_json
from gateway.keys import ENTRANCE, HISTORY, HUB, ORDERS, RELAY, SETTINGS, Orders
from gateway.routes import routes
from push.history import History
from push.hub import Hub
from push.relay import Relay
from push.resume import Entrance
from settings import Settings

__all__ = ["CannotListen", "Gateway"]

log = logging.getLogger("orderwire.http")

DRAIN_SECONDS = 10.0
# A reconnect storm fills a short backlog at once, and every connection beyond it stalls for a second.
BACKLOG = 4096


class CannotListen(Exception):
    """The address cannot be listened on; the text says why."""


def _is_ours(record: logging.LogRecord) -> bool:
    """aiohttp logs a traceback for every request that is no HTTP: any port scanner would fill the log."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


class Gateway:
    """The aiohttp application and its socket."""

    def __init__(self, settings: Settings, hub: Hub, relay: Relay, history: History, orders: Orders) -> None:
        app = web.Application(middlewares=[errors_as_json])
        app[SETTINGS], app[HUB], app[RELAY] = settings, hub, relay
        app[HISTORY], app[ORDERS] = history, orders
        app[ENTRANCE] = Entrance(hub, relay, history)
        app[ASSETS] = Assets(settings.currency)
        app.add_routes(routes)
        self._settings = settings
        self._hub = hub
        logging.getLogger("aiohttp.server").addFilter(_is_ours)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
        self._site: web.TCPSite | None = None

    async def listen(self) -> None:
        """Accept connections from here on."""
        host, port = self._settings.host, self._settings.port
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, host, port, backlog=BACKLOG)
        try:
            await self._site.start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise CannotListen(f"cannot listen on {host}:{port}: {reason}; choose another with PORT=…") from error

    @property
    def address(self) -> str:
        """host:port as a browser on this machine reaches it."""
        host, port = self._runner.addresses[0][:2]
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1"
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def drain(self) -> None:
        """Stop accepting, flush every session and close it with "come back", then end what is left."""
        if self._site is not None:
            await self._site.stop()
        await self._hub.drain(DRAIN_SECONDS)
        await self._runner.cleanup()
