"""Fixtures for tests of the gateway that run the application in the test's own process, with aiohttp's test server.

Use ``start_app`` where HTTP, SSE, WebSocket, roles or messages are tested. ``start_server`` (tests/conftest.py) starts a
process of its own, 0.6 s each: for signals, workers, transports, crashes and the command line. The database is the test's own,
real and migrated (``database_url``, ``db``). Settings are given as in the environment:

    async def test_something(start_app: StartApp, connect: Connect, db: Any) -> None:
        app = await start_app(JWT_SECRET=SECRET)           # returns when events flow; with wait=False at once
        client = await connect(app.ws_url)                 # tests.support.Client
        response = await app.http.get("/api/orders")       # aiohttp's TestClient
        async with aiohttp.ClientSession() as http, http.get(app.http_url + "/api/sse") as stream: ...

``app.ws_url`` and ``app.http_url`` are as those of ``tests.support.Server``: a test can be moved from one to the other.
``await app.close()`` stops it before the end of the test. A background task that fails, and a log line with a traceback, fail
the test when it ends.

aiohttp accepts the connections here, so WebSockets are upgraded by gateway/websocket/upgrade.py, not by gateway/inbound.py, and
limits count requests and sessions instead of connections. aiohttp's limits (header size, idle time) are set as in production.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.app import _is_server_error, runner_options
from gateway.app_keys import RELAY
from serving import create_app
from settings import Settings
from tests.support import FORWARDED_SETTINGS, TIMEOUT_SECONDS, within

__all__ = ["App", "StartApp"]


class App:
    """An application that runs in the test's process."""

    def __init__(self, app: web.Application, http: TestClient[web.Request, web.Application], prefix: str) -> None:
        self.app = app
        self.http = http
        self._prefix = prefix

    @property
    def http_url(self) -> str:
        """Without a slash at the end."""
        return str(self.http.make_url(self._prefix or "/")).rstrip("/")

    @property
    def ws_url(self) -> str:
        return self.http_url.replace("http", "ws", 1) + "/api/ws"

    async def wait_until_ready(self) -> None:
        await within(TIMEOUT_SECONDS, self.app[RELAY].started.wait(), "events flow")

    async def close(self) -> None:
        """Drain and stop. The fixture does so at the end of the test."""
        await self.http.close()


StartApp = Callable[..., Coroutine[Any, Any, App]]


class _Tracebacks(logging.Handler):
    """Keeps the log records that have a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.CRITICAL:
            self.found.append(logging.Formatter("%(name)s %(message)s").format(record))


@contextmanager
def _no_tracebacks() -> Iterator[None]:
    handler = _Tracebacks()
    handler.addFilter(_is_server_error)  # a malformed request is not an error of the server
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert not handler.found, "\n".join(handler.found)


@pytest.fixture
async def start_app(database_url: str) -> AsyncIterator[StartApp]:
    """Starts applications: ``await start_app(SETTING="…")``.

    ``url``: another database. ``mount``: called with the application before the start; returns the application that is served,
    and the prefix of ours in it.
    """
    running: list[App] = []
    failures: list[str] = []

    async def start(
        url: str = database_url,
        *,
        wait: bool = True,
        mount: Callable[[web.Application], tuple[web.Application, str]] = lambda app: (app, ""),
        **environment: str,
    ) -> App:
        settings = Settings.from_environment({"DATABASE_URL": url, **FORWARDED_SETTINGS, **environment})
        app = create_app(settings, lambda name, error: failures.append(f"{name}: {error!r}"))
        root, prefix = mount(app)
        http = TestClient(TestServer(root))
        started = App(app, http, prefix)
        running.append(started)
        await http.server.start_server(**runner_options(settings))
        if wait:
            await started.wait_until_ready()
        return started

    with _no_tracebacks():
        yield start
        for app in reversed(running):
            await app.close()
        await asyncio.sleep(0)
    assert not failures, failures
