"""Fixtures for tests of the gateway that run the application in the test's own process, with aiohttp's test server.

Use ``start_app`` where HTTP, SSE, WebSocket, roles or messages are tested. ``start_server`` (tests/conftest.py) starts a
process of its own, 0.2 s each: for signals, workers, transports, crashes and the command line. The database is the test's own,
real and migrated (``database_url``, ``db``). Settings are given as in the environment:

    async def test_something(start_app: StartApp, connect: Connect, db: Any) -> None:
        app = await start_app(JWT_SECRET=SECRET)           # returns when events flow; with wait=False at once
        client = await connect(app.ws_url)                 # tests.support.Client
        response = await app.http.get("/api/orders")       # aiohttp's TestClient
        async with aiohttp.ClientSession() as http, http.get(app.http_url + "/api/sse") as stream: ...

``await app.close()`` stops it before the end of the test. ``app.log`` has the log lines of the process from LOG_LEVEL up; log
settings of the command line and what it prints are not part of the application. A background task that fails, and a log line
with a traceback, fail the test when it ends. ``WEBSOCKET_IO``, ``NOTIFY_MODE`` and ``COMPRESSION`` are taken from the tests'
environment, as in a server process; ``WORKERS`` does not apply.

``start_target`` runs the test twice: with a server process, to which ``WORKERS`` applies, and with the application in the
test's process. ``Target`` has what both offer: ``ws_url``, ``http_url``, ``lines``, ``wait_for_line``, ``stop``, ``kill``. Use
it where the acceptor, the transports or the number of workers can change what a client receives: replay, totals, roles,
limits, conflation.

aiohttp accepts the connections here, so WebSockets are upgraded by gateway/http/detach.py, not by gateway/inbound.py, and
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
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient, AiohttpServer

from gateway.app import _is_server_error, runner_options
from gateway.app_keys import RELAY
from service.application import Service, create_app
from settings import Settings
from tests.support import FORWARDED_SETTINGS, TIMEOUT_SECONDS, Server, StartServer, within

__all__ = ["App", "Log", "StartApp", "StartTarget", "Target"]


class Log(logging.Handler):
    """The log lines of the process, each with its extra fields, and those with a traceback."""

    _ATTRIBUTES = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.tracebacks: list[str] = []
        self._changed = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in record.__dict__.items() if name not in self._ATTRIBUTES}
        self.lines.append(f"{record.levelname} {record.getMessage()} {fields or ''}")
        # A malformed request is not an error of the server.
        if record.levelno >= logging.CRITICAL or (record.exc_info and _is_server_error(record)):
            self.tracebacks.append(logging.Formatter("%(name)s %(message)s").format(record))
        self._changed.set()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def wait_for_line(self, substring: str, start_index: int = 0) -> str:
        """The first line, from index ``start_index`` on, that contains ``substring``, now or later."""

        async def wait() -> str:
            while True:
                for line in self.lines[start_index:]:
                    if substring in line:
                        return line
                self._changed.clear()
                await self._changed.wait()

        return await within(TIMEOUT_SECONDS, wait(), f"{substring!r} in {self.text}")


@contextmanager
def _captured_log() -> Iterator[Log]:
    root, handler = logging.getLogger(), Log()
    level = root.level
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert not handler.tracebacks, "\n".join(handler.tracebacks)


class App:
    """An application that runs in the test's process."""

    def __init__(self, app: web.Application, http: TestClient[Any, Any], prefix: str, log: Log, first_line: int) -> None:
        self.app = app
        self.http = http
        self.log = log
        self._prefix = prefix
        # The log is that of the process: lines of applications that the test started before come first.
        self._first_line = first_line

    @property
    def http_url(self) -> str:
        """Without a slash at the end."""
        return str(self.http.make_url(self._prefix or "/")).rstrip("/")

    @property
    def ws_url(self) -> str:
        return self.http_url.replace("http", "ws", 1) + "/api/ws"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        assert self.http.port is not None
        return self.http.host, self.http.port

    async def wait_until_ready(self) -> None:
        await within(TIMEOUT_SECONDS, self.app[RELAY].started.wait(), "events flow")

    async def close(self) -> None:
        """Drain and stop. The fixture does so at the end of the test."""
        await self.http.close()

    async def stop(self) -> None:
        """The same as ``close``, under the name that it has in ``Server``."""
        await self.close()

    async def kill(self) -> None:
        """Drain and stop, because SIGKILL, which ``Server.kill`` sends, would end the test too."""
        await self.close()

    @property
    def lines(self) -> list[str]:
        """The log lines since this application started."""
        return self.log.lines[self._first_line :]

    async def wait_for_line(self, substring: str, start_index: int = 0) -> str:
        """The first of ``lines``, from index ``start_index`` on, that contains ``substring``, now or later."""
        return await self.log.wait_for_line(substring, self._first_line + start_index)


StartApp = Callable[..., Coroutine[Any, Any, App]]
Target = App | Server
StartTarget = Callable[..., Coroutine[Any, Any, Target]]


@pytest.fixture
async def start_app(aiohttp_server: AiohttpServer, aiohttp_client: AiohttpClient, database_url: str) -> AsyncIterator[StartApp]:
    """Starts applications: ``await start_app(SETTING="…")``.

    ``url``: another database. ``embedded``: as if that was the embedded one. ``mount``: called with the application before the
    start; returns the application that is served, and the prefix of ours in it.
    """
    running: list[App] = []
    failures: list[str] = []

    with _captured_log() as log:

        async def start(
            url: str = database_url,
            *,
            wait: bool = True,
            embedded: bool = False,
            mount: Callable[[web.Application], tuple[web.Application, str]] = lambda app: (app, ""),
            **environment: str,
        ) -> App:
            settings = Settings.from_environment({"DATABASE_URL": url, **FORWARDED_SETTINGS, **environment})
            logging.getLogger().setLevel(settings.log_level)

            def fail(name: str, error: BaseException) -> None:
                failures.append(f"{name}: {error!r}")

            app = Service(settings, fail, embedded_url=url).gateway.app if embedded else create_app(settings, fail)
            root, prefix = mount(app)
            first_line = len(log.lines)
            server = await aiohttp_server(root, **runner_options(settings))
            started = App(app, await aiohttp_client(server), prefix, log, first_line)
            running.append(started)
            if wait:
                await started.wait_until_ready()
            return started

        yield start
        for app in reversed(running):
            await app.close()
        await asyncio.sleep(0)
    assert not failures, failures


@pytest.fixture
async def app(start_app: StartApp) -> App:
    """An application with default settings."""
    return await start_app()


@pytest.fixture(params=["process", "mounted"])
def start_target(
    request: pytest.FixtureRequest, start_server: StartServer, start_app: StartApp, database_url: str
) -> StartTarget:
    """Starts server processes, or applications in the test's process: ``await start_target(SETTING="…")``."""

    async def start(**environment: str) -> Target:
        if request.param == "process":
            return await start_server(database_url, **environment)
        return await start_app(**environment)

    return start
