"""The network side as a whole: listen, serve, drain."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Coroutine
from typing import Any

from aiohttp import web, web_urldispatcher
from aiohttp.http import HttpProcessingError, HttpVersion11

from gateway.arrivals import Arrivals, Doorstep
from gateway.assets import ASSETS, Assets
from gateway.connections import PATIENCE, Connections
from gateway.door import DOOR, Door
from gateway.errands import ERRANDS, Errands
from gateway.errors import errors_as_json
from gateway.fanout import FANOUT, Fanout
from gateway.keys import ENTRANCE, HISTORY, HUB, METRICS, ORDERS, RELAY, SETTINGS, Orders
from gateway.lines import LINES, TRANSPORT, CannotHave, Lines
from gateway.opening import MOST_HEADERS
from gateway.routes import routes
from gateway.takeover import CannotTakeOver, prove
from gateway.tls import Certificate
from gateway.tokens import gate_of
from push.entrance import Entrance
from push.history import History
from push.hub import Hub
from push.metrics import Metrics
from push.relay import Relay
from settings import Settings

__all__ = ["CannotListen", "Gateway", "address_of", "cannot_listen"]

log = logging.getLogger("orderwire.http")

DRAIN_SECONDS = 10.0
# A reconnect storm fills a short backlog at once, and every connection beyond it stalls for a second.
BACKLOG = 4096
# Where asyncio accepts, it does so as many times in one turn of its loop as the backlog that it knows of: any more, and a flood
# of connections holds up everybody else.
ACCEPTED_AT_ONCE = 1
# Open files beside the connections that are let in: those that are turned away, PostgreSQL, the listening sockets.
OTHER_FILES = 3 * PATIENCE


class CannotListen(Exception):
    """The address cannot be listened on; the text says why."""


def cannot_listen(host: str, port: int, error: OSError | OverflowError) -> CannotListen:
    """For what the system said."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return CannotListen(f"cannot listen on {host}:{port}: {reason}; choose another with PORT=…")


def address_of(server: asyncio.Server) -> str:
    """host:port as a browser on this machine reaches it."""
    host, port = server.sockets[0].getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_ours(record: logging.LogRecord) -> bool:
    """aiohttp logs a traceback for every request that is no HTTP, and for many a client that leaves before it is answered: any
    port scanner would fill the log.
    """
    return record.exc_info is None or not isinstance(record.exc_info[1], (HttpProcessingError, ConnectionError))


async def _expect(request: web.Request) -> None:
    """What aiohttp does about an Expect header, before any middleware, on every path. Its own way repeats one that it does not
    know (RFC 9110 section 10.1.1: 417), which fails for bytes that are no UTF-8.
    """
    if request.version == HttpVersion11 and request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed(text="of expectations only 100-continue is understood")
    await _expect_continue(request)


# For the paths that nobody serves, too, which have no public place for it. (aiohttp is pinned.)
_expect_continue = web_urldispatcher._default_expect_handler
web_urldispatcher._default_expect_handler = _expect


def _allow_open_files(connections: int) -> None:
    """Each connection is one. Without more of them than the usual 1,024 a single address could take all, PostgreSQL's too."""
    wanted = connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    except (OSError, ValueError):  # macOS has a lower limit of its own
        allowed = soft
    if allowed < wanted:
        log.warning(
            "the system allows %d open files, too few for MAX_CONNECTIONS=%d: raise the limit (ulimit -Hn %d)",
            *(allowed, connections, wanted),
        )


class Gateway:
    """The aiohttp application and its socket. Raises BadSetting when it is made."""

    def __init__(self, settings: Settings, hub: Hub, relay: Relay, history: History, orders: Orders, metrics: Metrics) -> None:
        self._settings = settings
        self._hub = hub
        self.authority, self._keys = gate_of(settings)
        self._certificate = (
            Certificate(settings.tls_cert_file, settings.tls_key_file)
            if settings.tls_cert_file and settings.tls_key_file
            else None
        )
        self._connections = Connections(settings, metrics)
        self._errands = Errands()
        self._lines = Lines()
        door = Door(settings, self.authority, self._connections, metrics)
        app = web.Application(middlewares=[errors_as_json, door.pass_through])
        app.on_response_prepare.append(door.add_headers)
        app[SETTINGS], app[HUB], app[RELAY], app[METRICS], app[DOOR] = settings, hub, relay, metrics, door
        app[HISTORY], app[ORDERS] = history, orders
        app[ERRANDS], app[LINES] = self._errands, self._lines
        app[FANOUT] = Fanout(metrics, hub, self._lines)
        hub.together = self._lines
        app[ENTRANCE] = Entrance(hub, relay, history, self.authority, orders, most_topics=settings.max_topics, metrics=metrics)
        app[ASSETS] = Assets(settings.currency)
        app.add_routes(routes)
        logging.getLogger("aiohttp.server").addFilter(_is_ours)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=1.0,
            handler_cancellation=True,
            keepalive_timeout=settings.idle_seconds,
            lingering_time=min(2.0, settings.idle_seconds),
            max_line_size=settings.max_header_bytes,
            max_field_size=settings.max_header_bytes,
            max_headers=MOST_HEADERS,
        )
        self._app = app
        self._server: asyncio.Server | None = None
        self._arrivals: Arrivals | None = None
        self._doorstep: Doorstep | None = None
        if self._keys is not None:
            self._keys.changed = self.review

    async def listen(self) -> None:
        """Accept connections from here on."""
        _allow_open_files(self._settings.max_connections)
        host, port = self._settings.host, self._settings.port
        try:
            await prove()
        except CannotTakeOver as error:
            raise CannotListen(f"{error}: install the versions that requirements/runtime.txt names") from error
        try:
            await self._lines.choose(TRANSPORT if self._certificate else self._settings.websocket_io)
        except CannotHave as error:
            raise CannotListen(f"WEBSOCKET_IO={self._settings.websocket_io} cannot be had here: {error}") from error
        await self._runner.setup()
        assert self._runner.server is not None
        self._arrivals = Arrivals(self._app, self._connections, self._runner.server)
        loop = asyncio.get_running_loop()
        own = self._lines.own
        try:
            self._server = await loop.create_server(
                self._arrivals,
                host,
                port,
                backlog=ACCEPTED_AT_ONCE,
                reuse_address=True,
                # So that other workers may listen there too. None: the system may not have it.
                reuse_port=self._settings.workers > 1 or None,
                ssl=self._certificate.context if self._certificate else None,
                ssl_handshake_timeout=self._settings.idle_seconds if self._certificate else None,
                start_serving=not own,
            )
            sockets = [socket.socket(fileno=os.dup(listening.fileno())) for listening in self._server.sockets]
            for listening in sockets:
                self._listen_on(listening)
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            raise cannot_listen(host, port, error) from error
        if own:
            self._doorstep = Doorstep(sockets, self._arrivals)
            return
        for listening in sockets:
            listening.close()

    def _listen_on(self, listening: socket.socket) -> None:
        """A connection has the options of the socket that it came by (``sk_clone_lock`` in Linux)."""
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            # The kernel's buffer goes on accepting, megabytes of it, when the client has long gone without a word: longer than
            # two missed heartbeats.
            silence_ms = int(3000 * self._settings.heartbeat_seconds)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)
        listening.listen(BACKLOG)

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run beside, by name."""
        tasks: dict[str, Coroutine[Any, Any, None]] = {}
        if self._keys is not None:
            tasks["token keys"] = self._keys.run()
        if self._certificate is not None:
            tasks["certificate"] = self._certificate.run()
        return tasks

    def review(self) -> None:
        """What tokens grant has changed: end the sessions whose token does not count any more."""
        self._hub.review(self.authority.holds)

    @property
    def address(self) -> str:
        """host:port as a browser on this machine reaches it."""
        assert self._server is not None
        return address_of(self._server)

    async def drain(self) -> None:
        """Stop accepting, flush every session and close it with "come back", then end what is left."""
        if self._doorstep is not None:
            self._doorstep.close()
        if self._server is not None:
            self._server.close()
        if self._arrivals is not None:
            self._arrivals.close()
        await self._hub.drain(DRAIN_SECONDS)
        await self._errands.end()
        await self._runner.cleanup()
        self._connections.cut_all()
