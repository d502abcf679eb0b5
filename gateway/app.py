"""The network side as a whole: listen, serve, drain."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine
from typing import Any

from aiohttp import web, web_urldispatcher
from aiohttp.http import HttpProcessingError, HttpVersion11

from gateway.app_keys import HUB, METRICS, ORDER_QUERIES, RELAY, REPLAY_PLANNER, SESSION_MANAGER, SETTINGS, OrderQueries
from gateway.auth.tokens import verifier_from_settings
from gateway.http.assets import ASSETS, Assets
from gateway.http.errors import error_middleware
from gateway.http.request_guard import REQUEST_GUARD, RequestGuard
from gateway.http.request_head import MAX_HEADERS
from gateway.inbound import Acceptor, InboundConnections
from gateway.net.connection_limits import MAX_REJECTED_PENDING, ConnectionLimiter
from gateway.net.listening import ListenError, listen_error, raise_open_file_limit, server_address, start_listening
from gateway.net.tls import Certificate
from gateway.net.transports import ASYNCIO_TRANSPORT, TRANSPORTS, BackendUnavailable, TransportBackend
from gateway.routes import routes
from gateway.sessions.background_tasks import BACKGROUND_TASKS, BackgroundTasks
from gateway.websocket.broadcast import BROADCASTER, Broadcaster
from gateway.websocket.upgrade import UpgradeUnsupported, self_test
from push.admission import SessionManager
from push.delivery.hub import Hub
from push.journal.relay import Relay
from push.journal.replay import ReplayPlanner
from push.metrics import Metrics
from settings import Settings

__all__ = ["Gateway"]

log = logging.getLogger("orderwire.http")

DRAIN_SECONDS = 10.0
# asyncio calls accept as often in one tick of its loop as the backlog that it is given: 1, so that a flood of connections
# does not delay the other sessions. (start_listening sets the real backlog.)
ASYNCIO_BACKLOG = 1
# Open files beside MAX_CONNECTIONS: connections that are rejected, PostgreSQL, the listening sockets.
OTHER_OPEN_FILES = 3 * MAX_REJECTED_PENDING


def _is_server_error(record: logging.LogRecord) -> bool:
    """aiohttp logs a traceback for every request that is no HTTP, and for many a client that leaves before it is answered: any
    port scanner would fill the log.
    """
    return record.exc_info is None or not isinstance(record.exc_info[1], (HttpProcessingError, ConnectionError))


async def _handle_expect(request: web.Request) -> None:
    """What aiohttp does about an Expect header, before any middleware, on every path. Its own way repeats one that it does not
    know (RFC 9110 section 10.1.1: 417), which fails for bytes that are no UTF-8.
    """
    if request.version == HttpVersion11 and request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed(text="of expectations only 100-continue is understood")
    await _aiohttp_expect_handler(request)


# For the paths that nobody serves, too, which have no public place for it. (aiohttp is pinned.)
_aiohttp_expect_handler = web_urldispatcher._default_expect_handler
web_urldispatcher._default_expect_handler = _handle_expect


class Gateway:
    """The aiohttp application and its socket. Raises BadSetting when it is made."""

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        relay: Relay,
        replay_planner: ReplayPlanner,
        order_queries: OrderQueries,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._hub = hub
        self.token_verifier, self._remote_keys = verifier_from_settings(settings)
        self._certificate = (
            Certificate(settings.tls_cert_file, settings.tls_key_file)
            if settings.tls_cert_file and settings.tls_key_file
            else None
        )
        self._limiter = ConnectionLimiter(settings, metrics)
        self._background_tasks = BackgroundTasks()
        self._transport_backend = TransportBackend()
        door = RequestGuard(settings, self.token_verifier, self._limiter, metrics)
        app = web.Application(middlewares=[error_middleware, door.middleware])
        app.on_response_prepare.append(door.add_headers)
        app[SETTINGS], app[HUB], app[RELAY], app[METRICS], app[REQUEST_GUARD] = settings, hub, relay, metrics, door
        app[REPLAY_PLANNER], app[ORDER_QUERIES] = replay_planner, order_queries
        app[BACKGROUND_TASKS], app[TRANSPORTS] = self._background_tasks, self._transport_backend
        app[BROADCASTER] = Broadcaster(metrics, hub, self._transport_backend)
        hub.batch_writes = self._transport_backend
        app[SESSION_MANAGER] = SessionManager(
            hub, relay, replay_planner, self.token_verifier, order_queries, max_topics=settings.max_topics, metrics=metrics
        )
        app[ASSETS] = Assets(settings.currency)
        app.add_routes(routes)
        logging.getLogger("aiohttp.server").addFilter(_is_server_error)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=1.0,
            handler_cancellation=True,
            keepalive_timeout=settings.idle_seconds,
            lingering_time=min(2.0, settings.idle_seconds),
            max_line_size=settings.max_header_bytes,
            max_field_size=settings.max_header_bytes,
            max_headers=MAX_HEADERS,
        )
        self._app = app
        self._server: asyncio.Server | None = None
        self._inbound: InboundConnections | None = None
        self._acceptor: Acceptor | None = None
        if self._remote_keys is not None:
            self._remote_keys.on_keys_removed = self.revoke_invalid

    async def listen(self) -> None:
        """Accept connections from here on."""
        raise_open_file_limit(self._settings.max_connections, OTHER_OPEN_FILES)
        host, port = self._settings.host, self._settings.port
        try:
            await self_test()
        except UpgradeUnsupported as error:
            raise ListenError(f"{error}: install the versions that requirements/runtime.txt names") from error
        try:
            await self._transport_backend.select(ASYNCIO_TRANSPORT if self._certificate else self._settings.websocket_io)
        except BackendUnavailable as error:
            raise ListenError(f"WEBSOCKET_IO={self._settings.websocket_io} cannot be had here: {error}") from error
        await self._runner.setup()
        assert self._runner.server is not None
        self._inbound = InboundConnections(self._app, self._limiter, self._runner.server)
        loop = asyncio.get_running_loop()
        own = self._transport_backend.has_fd_transports
        try:
            self._server = await loop.create_server(
                self._inbound,
                host,
                port,
                backlog=ASYNCIO_BACKLOG,
                reuse_address=True,
                # So that other workers may listen there too. None: the system may not have it.
                reuse_port=self._settings.workers > 1 or None,
                ssl=self._certificate.context if self._certificate else None,
                ssl_handshake_timeout=self._settings.idle_seconds if self._certificate else None,
                start_serving=not own,
            )
            sockets = [socket.socket(fileno=os.dup(listening.fileno())) for listening in self._server.sockets]
            for listening in sockets:
                start_listening(listening, self._settings.heartbeat_seconds)
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            raise listen_error(host, port, error) from error
        if own:
            self._acceptor = Acceptor(sockets, self._inbound)
            return
        for listening in sockets:
            listening.close()

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run beside, by name."""
        tasks: dict[str, Coroutine[Any, Any, None]] = {}
        if self._remote_keys is not None:
            tasks["token keys"] = self._remote_keys.run()
        if self._certificate is not None:
            tasks["certificate"] = self._certificate.run()
        return tasks

    def revoke_invalid(self) -> None:
        """What tokens grant has changed: end the sessions whose token does not count any more."""
        self._hub.revoke_invalid(self.token_verifier.is_valid)

    @property
    def address(self) -> str:
        """host:port as a browser on this machine reaches it."""
        assert self._server is not None
        return server_address(self._server)

    async def drain(self) -> None:
        """Stop accepting, flush every session and close it with "come back", then end what is left."""
        if self._acceptor is not None:
            self._acceptor.close()
        if self._server is not None:
            self._server.close()
        if self._inbound is not None:
            self._inbound.close()
        await self._hub.drain(DRAIN_SECONDS)
        await self._background_tasks.cancel_all()
        await self._runner.cleanup()
        self._limiter.abort_all()
