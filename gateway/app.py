"""The aiohttp application, and the HTTP server that a process of its own runs it with.

``Gateway`` makes the application: middleware, routes and what the handlers share. Any aiohttp server can run it, also as a
sub-application of another one. ``HttpServer`` is the server behind `server.py serve`: it reads the first bytes of a connection
itself, so that a WebSocket handshake costs no aiohttp request (gateway/inbound.py).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from gateway.app_keys import (
    HUB,
    LIFECYCLE,
    METRICS,
    ORDER_QUERIES,
    ORDER_WRITER,
    PLAYGROUND,
    RELAY,
    REPLAY_PLANNER,
    SERIES_COUNTER,
    SERIES_ENCODER,
    SESSION_MANAGER,
    SETTINGS,
    VERSION,
    Lifecycle,
    OrderChanges,
    OrderQueries,
)
from gateway.auth.tokens import verifier_from_settings
from gateway.description.handlers import DESCRIPTIONS, Descriptions
from gateway.http.assets import ASSETS, Assets
from gateway.http.detach import DetachUnsupported, self_test
from gateway.http.errors import error_middleware
from gateway.http.expect import handle_expect_everywhere
from gateway.http.request_guard import REQUEST_GUARD, RequestGuard
from gateway.http.request_head import MAX_HEADERS
from gateway.inbound import Acceptor, InboundConnections
from gateway.net.connection_limits import MAX_REJECTED_PENDING, ConnectionLimiter
from gateway.net.listening import (
    ListenError,
    bind_sockets,
    listen_error,
    open_files_ratio,
    raise_open_file_limit,
    server_address,
    start_listening,
)
from gateway.net.tls import Certificate
from gateway.net.transports import ASYNCIO_TRANSPORT, TRANSPORTS, BackendUnavailable, TransportBackend
from gateway.routes import mount_prefix, prefixed_routes, routes
from gateway.sessions.background_tasks import BACKGROUND_TASKS, BackgroundTasks
from gateway.sse import SSE_BROADCASTER, SseBroadcaster
from gateway.websocket.broadcast import BROADCASTER, WebSocketBroadcaster
from gateway.websocket.handshake import WINDOW_BUDGET
from gateway.websocket.permessage_deflate import WindowBudget
from push.admission import SessionManager
from push.delivery.hub import Hub
from push.journal.relay import Relay
from push.journal.replay import ReplayPlanner
from push.journal.series_counter import SeriesCounter
from push.metrics import Metrics
from push.protocol.series import SeriesEncoder
from settings import Settings

__all__ = ["Gateway", "HttpServer", "runner_options"]

# How long a drain waits for the clients' close frames.
DRAIN_SECONDS = 10.0
# asyncio calls accept as often in one tick of its loop as the backlog that it is given: 1, so that a flood of connections
# does not delay the other sessions. (start_listening sets the real backlog.)
ASYNCIO_BACKLOG = 1
# Open files beside MAX_CONNECTIONS: connections that are rejected, PostgreSQL, the listening sockets.
OTHER_OPEN_FILES = 3 * MAX_REJECTED_PENDING


class Gateway:
    """The aiohttp application and what its handlers share. Raises BadSetting when it is made.

    ``app`` selects the transports at its start-up, drains the sessions at its shutdown, and aborts the rest at its clean-up.
    """

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        relay: Relay,
        replay_planner: ReplayPlanner,
        series_counter: SeriesCounter,
        order_queries: OrderQueries,
        order_writer: OrderChanges,
        metrics: Metrics,
        version: str,
        *,
        is_playground: bool = False,
    ) -> None:
        """``is_playground``: the database is the embedded one, so the server may make test orders."""
        self._settings = settings
        self._hub = hub
        self.token_verifier, self._remote_keys = verifier_from_settings(settings)
        if self._remote_keys is not None:
            self._remote_keys.on_keys_removed = self.revoke_invalid
        self.limiter = ConnectionLimiter(settings, metrics)
        metrics.open_files.set_function(open_files_ratio)
        self._background_tasks = BackgroundTasks()
        self.transports = TransportBackend()
        hub.batch_writes = self.transports
        self._guard = RequestGuard(settings, self.token_verifier, self.limiter, metrics)
        app = self.app = web.Application(middlewares=[error_middleware, self._guard.middleware])
        app[SETTINGS] = settings
        app[VERSION] = version
        app[HUB] = hub
        app[RELAY] = relay
        app[METRICS] = metrics
        app[LIFECYCLE] = self._lifecycle = Lifecycle()
        app[REQUEST_GUARD] = self._guard
        app[REPLAY_PLANNER] = replay_planner
        app[SERIES_COUNTER] = series_counter
        app[SERIES_ENCODER] = SeriesEncoder(settings.zone, settings.time_zone)
        app[ORDER_QUERIES] = order_queries
        app[ORDER_WRITER] = order_writer
        app[PLAYGROUND] = is_playground
        app[BACKGROUND_TASKS] = self._background_tasks
        app[TRANSPORTS] = self.transports
        app[WINDOW_BUDGET] = WindowBudget()
        app[BROADCASTER] = WebSocketBroadcaster(metrics, hub, self.transports)
        app[SSE_BROADCASTER] = SseBroadcaster(metrics, hub, self.transports)
        app[SESSION_MANAGER] = SessionManager(
            hub, relay, replay_planner, self.token_verifier, order_queries, max_topics=settings.max_topics, metrics=metrics
        )
        app[ASSETS] = Assets(settings.currency, base_path=settings.base_path)
        app[DESCRIPTIONS] = Descriptions(routes, version, settings.base_path)
        app.add_routes(routes)
        if settings.base_path:
            app.add_routes(prefixed_routes(settings.base_path))
        app.on_response_prepare.append(self._guard.add_headers)
        app.cleanup_ctx.append(self._run)
        app.on_shutdown.append(self._on_shutdown)
        self._drained = False

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run while the application serves, by name."""
        return {"token keys": self._remote_keys.run()} if self._remote_keys is not None else {}

    def revoke_invalid(self) -> None:
        """Close the sessions whose token is not valid any more. Called when a token was revoked or a signing key removed."""
        self._hub.revoke_invalid(self.token_verifier.is_valid)

    async def _run(self, app: web.Application) -> AsyncIterator[None]:
        """From start-up to clean-up. Raises DetachUnsupported and BackendUnavailable."""
        self._guard.mount_prefix = mount_prefix(app)
        await self_test()
        await self.transports.select(ASYNCIO_TRANSPORT if self._settings.tls_cert_file else self._settings.websocket_io)
        yield
        self.limiter.abort_all()
        await asyncio.sleep(0)  # transports report the end of a connection in the next tick
        self.transports.close()

    def announce_end(self) -> None:
        """Answer /readyz with 503 from now on, so that load balancers send no new clients. All else goes on."""
        self._lifecycle.is_ending = True

    async def drain(self) -> None:
        """Flush every session and close it with DRAIN ("come back"), then cancel the sessions' tasks that are left. Has no
        effect when it is called again.
        """
        if self._drained:
            return
        self._drained = True
        self.announce_end()
        try:
            await self._hub.drain(DRAIN_SECONDS)
        finally:
            await self._background_tasks.cancel_all()

    async def _on_shutdown(self, _app: web.Application) -> None:
        await self.drain()


def runner_options(settings: Settings) -> dict[str, Any]:
    """Arguments of ``web.AppRunner`` that the settings decide. A program that mounts the application may use them too."""
    return {
        "access_log": None,
        "shutdown_timeout": 1.0,
        "keepalive_timeout": settings.keep_alive_seconds,
        "lingering_time": min(2.0, settings.idle_seconds),
        "max_line_size": settings.max_header_bytes,
        "max_field_size": settings.max_header_bytes,
        "max_headers": MAX_HEADERS,
    }


def _is_server_error(record: logging.LogRecord) -> bool:
    """Log filter. aiohttp logs a traceback for each malformed request and for many a client that disconnects early: a port
    scanner would fill the log.
    """
    return record.exc_info is None or not isinstance(record.exc_info[1], (HttpProcessingError, ConnectionError))


class HttpServer:
    """Listens on HOST and PORT and serves the application of one gateway. Raises BadSetting when it is made."""

    def __init__(self, gateway: Gateway, settings: Settings) -> None:
        self._gateway = gateway
        self._settings = settings
        self._certificate = (
            Certificate(settings.tls_cert_file, settings.tls_key_file)
            if settings.tls_cert_file and settings.tls_key_file
            else None
        )
        handle_expect_everywhere()
        logging.getLogger("aiohttp.server").addFilter(_is_server_error)
        self._runner = web.AppRunner(gateway.app, handler_cancellation=True, **runner_options(settings))
        self._inbound = InboundConnections(gateway.app, gateway.limiter, self._make_http_protocol)
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._acceptor: Acceptor | None = None
        self._closed = False

    def _make_http_protocol(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return self._runner.server()

    async def listen(self) -> None:
        """Bind the address, start the application, then accept connections. Raises ListenError. ``close`` must follow."""
        raise_open_file_limit(self._settings.max_connections, OTHER_OPEN_FILES)
        settings = self._settings
        with self._listen_errors():
            # ``reuse_port``: so that other workers may listen there too.
            self._sockets = await bind_sockets(settings.host, settings.port, reuse_port=settings.workers > 1)
        await self._start_app()
        with self._listen_errors():
            await self._start_accepting()

    @contextmanager
    def _listen_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, OverflowError) as error:
            raise listen_error(self._settings.host, self._settings.port, error) from error

    async def _start_app(self) -> None:
        try:
            await self._runner.setup()
        except DetachUnsupported as error:
            raise ListenError(f"{error}: install the versions that requirements/runtime.txt names") from error
        except BackendUnavailable as error:
            raise ListenError(f"WEBSOCKET_IO={self._settings.websocket_io} cannot be had here: {error}") from error

    async def _start_accepting(self) -> None:
        settings, certificate = self._settings, self._certificate
        accepts_itself = self._gateway.transports.has_fd_transports
        for sock in self._sockets:
            if not accepts_itself:
                server = await asyncio.get_running_loop().create_server(
                    self._inbound,
                    sock=sock,
                    backlog=ASYNCIO_BACKLOG,
                    ssl=certificate.context if certificate else None,
                    ssl_handshake_timeout=settings.idle_seconds if certificate else None,
                )
                self._servers.append(server)
            start_listening(sock, settings.heartbeat_seconds)
        if accepts_itself:
            self._acceptor = Acceptor(self._sockets, self._inbound)

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run while it listens, by name."""
        return {"certificate": self._certificate.run()} if self._certificate is not None else {}

    @property
    def address(self) -> str:
        """host:port as a browser on this machine reaches it."""
        return server_address(self._sockets)

    async def close(self) -> None:
        """Stop accepting, drain the sessions, then shut down the application. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        if self._acceptor is not None:
            self._acceptor.close()
        for server in self._servers:
            server.close()
        for sock in self._sockets:
            sock.close()
        self._inbound.close()
        try:
            # Before the runner, which first closes idle connections: probes and scrapers get answers until the drain is over.
            await self._gateway.drain()
        finally:
            await self._runner.cleanup()
