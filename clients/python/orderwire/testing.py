"""What the pytest plugin is made of: a server in a process of its own, and ``Orders``, which waits for events.

Nothing here depends on the event loop of a test: ``Orders`` receives in a thread, so blocking tests can use it too.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from orderwire.client import Client
from orderwire.messages import Connected, Event, FeedStatus, OrderEvent, StreamEvent, parse_event

__all__ = ["Orders", "OrderwireServer", "ServerFailed", "embedded_postgres"]

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
# Variables that the server's process gets from the one of the tests: no setting of the application must change it.
_FORWARDED = ("PATH", "HOME", "LANG", "TMPDIR")


class ServerFailed(Exception):
    """The server, or its PostgreSQL, does not start. The message is what it says."""


def _command(home: Path, *arguments: str) -> list[str]:
    """With the interpreter of the checkout, which has the server's packages."""
    interpreter = home / ".venv" / "bin" / "python"
    return [str(interpreter) if interpreter.exists() else sys.executable, *arguments]


def _environment(**settings: str) -> dict[str, str]:
    return {**{name: os.environ[name] for name in _FORWARDED if name in os.environ}, "PYTHONUNBUFFERED": "1", **settings}


@contextmanager
def embedded_postgres(home: Path, directory: Path) -> Iterator[str]:
    """A PostgreSQL of its own, with its data in ``directory``. Yields its URL. Raises ServerFailed."""
    process = subprocess.Popen(
        _command(home, "-m", "db.embedded", str(directory)),
        cwd=home,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise ServerFailed(f"PostgreSQL does not start: {process.communicate()[1].strip()}")
        try:
            yield url
        finally:
            process.stdin.close()
            process.wait(STOP_TIMEOUT)


class OrderwireServer:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], database_url: str) -> None:
        """Use ``start``."""
        self._process = process
        self._ready = threading.Event()
        self.database_url = database_url
        self.lines: list[str] = []
        """What the server has printed."""
        self._reader = threading.Thread(target=self._read, name="output of the server", daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, home: Path, database_url: str, map_file: Path) -> Self:
        """Attach the table that the map names, and serve. Returns when events flow. Raises ServerFailed."""
        environment = _environment(DATABASE_URL=database_url, HOST="127.0.0.1", PORT="0")
        attach = _command(home, "server.py", "attach", "--map", str(map_file.resolve()), "--apply")
        done = subprocess.run(attach, cwd=home, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerFailed(f"the table is not attached: {(done.stderr or done.stdout).strip()}")
        process = subprocess.Popen(
            _command(home, "server.py", "serve"),
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        server = cls(process, database_url)
        if not server._ready.wait(START_TIMEOUT) or server.url == "":
            server.stop()
            raise ServerFailed("the server does not start:\n" + server.output)
        return server

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            if "ready" in line:
                self._ready.set()
        self._ready.set()  # it has ended

    @property
    def url(self) -> str:
        """Its address, without a slash at the end; empty before it is ready."""
        found = [line.split()[1] for line in self.lines if line.startswith("websocket")]
        return found[0].replace("ws", "http", 1).removesuffix("/api/ws") if found else ""

    @property
    def output(self) -> str:
        """What the server has printed, as one text."""
        return "\n".join(self.lines)

    @property
    def running(self) -> bool:
        """Whether its process has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it. May be called again."""
        self._process.terminate()
        self._process.wait(STOP_TIMEOUT)
        self._reader.join(STOP_TIMEOUT)
        if self._process.stdout is not None:
            self._process.stdout.close()


class Orders:
    """The events that a server sends from ``with Orders(…)`` on, kept until they are asked for."""

    def __init__(self, server: OrderwireServer, timeout: float = 5.0) -> None:
        """``timeout``: how long to wait for an event, in seconds, unless a call says otherwise."""
        self._server = server
        self._timeout = timeout
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._waiting: list[Event] = []
        self._start = ""
        self._connected = False
        self._feed: FeedStatus | None = None
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="orderwire orders", daemon=True)

    # ---------------------------------------------------------------- what a test calls

    async def event(
        self,
        *,
        type: str | None = None,  # noqa: A002
        order: object = None,
        timeout: float | None = None,
        **fields: object,
    ) -> Event:
        """Return the first event that came and matches, now or within ``timeout`` seconds. Each is returned once.

        ``order``: the order's key. ``fields``: further ones, as ``status="paid"``; money is compared as a number. Raises
        AssertionError, with what came instead.
        """
        __tracebackhide__ = True
        found = await asyncio.to_thread(self._take, order, _wanted(type, fields), timeout)
        if isinstance(found, str):
            raise AssertionError(found)
        return found

    def wait_for_event(
        self,
        *,
        type: str | None = None,  # noqa: A002
        order: object = None,
        timeout: float | None = None,
        **fields: object,
    ) -> Event:
        """The same, for tests that are not asynchronous."""
        __tracebackhide__ = True
        found = self._take(order, _wanted(type, fields), timeout)
        if isinstance(found, str):
            raise AssertionError(found)
        return found

    async def no_event(self, *, type: str | None = None, order: object = None, **fields: object) -> None:  # noqa: A002
        """Assert that the journal has no matching event since the beginning of the test, of what is committed by now."""
        __tracebackhide__ = True
        wanted = _wanted(type, fields)
        found = [event for event in await self._history() if _matches(event, order, wanted)]
        if found:
            lines = "".join(f"\n  {_event_text(event)}" for event in found)
            raise AssertionError(f"there should be no {_wanted_text(order, wanted)}, and there is:{lines}")

    @property
    def events(self) -> list[Event]:
        """All events that have come, those that were returned too."""
        with self._changed:
            return list(self._events)

    # ---------------------------------------------------------------- receiving

    def __enter__(self) -> Self:
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._connected or self._failure is not None, START_TIMEOUT)
            if not self._connected:
                raise ServerFailed(f"no connection to the server: {self._failure or 'no answer'}\n{self._server.output}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._loop is not None and self._main is not None:
            self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(STOP_TIMEOUT)

    def _run(self) -> None:
        async def main() -> None:
            self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
            with suppress(asyncio.CancelledError):
                await self._follow()

        try:
            asyncio.run(main())
        except Exception as error:  # shown by the test that waits
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    async def _follow(self) -> None:
        async with aiohttp.ClientSession(self._server.url) as http:
            streams = (await self._get(http, "/api/meta")).get("streams", [])
            self._start = (await self._get(http, "/api/orders?limit=1"))["position"]
        async with Client(self._server.url, topics=("orders", *streams), base_delay=0.1, max_delay=1.0) as client:
            async for message in client:
                with self._changed:
                    match message:
                        case Connected():
                            self._connected = True
                        case FeedStatus():
                            self._feed = message
                        case OrderEvent() | StreamEvent():
                            self._events.append(message)
                            self._waiting.append(message)
                    self._changed.notify_all()

    @staticmethod
    async def _get(http: aiohttp.ClientSession, path: str) -> Any:
        async with http.get(path) as response:
            answer = await response.json()
            if response.status != 200:
                raise ServerFailed(f"{path}: {answer['error']['message']}")
            return answer

    async def _history(self) -> list[Event]:
        found: list[Event] = []
        after, more = self._start, True
        async with aiohttp.ClientSession(self._server.url) as http:
            while more:
                page = await self._get(http, f"/api/events?limit=1000&after={after}")
                found += [parse_event(event) for event in page["events"]]
                after, more = page["next"], page["more"]
        return found

    # ---------------------------------------------------------------- matching, and what is said

    def _take(self, order: object, wanted: dict[str, object], timeout: float | None) -> Event | str:
        """Wait for a matching event, and take it; or what to say of its absence."""
        seconds = self._timeout if timeout is None else timeout
        with self._changed:
            self._changed.wait_for(lambda: self._failure is not None or self._find(order, wanted) is not None, seconds)
            found = self._find(order, wanted)
            if found is None:
                return f"no {_wanted_text(order, wanted)} within {seconds:g} s; {self._what_came()}"
            self._waiting.remove(found)
            return found

    def _find(self, order: object, wanted: dict[str, object]) -> Event | None:
        return next((event for event in self._waiting if _matches(event, order, wanted)), None)

    def _what_came(self) -> str:
        if self._failure is not None:
            return f"the connection has failed: {self._failure!r}"
        if not self._server.running:
            return f"the server has ended:\n{self._server.output}"
        if self._feed is not None and not self._feed.live:
            return f"events do not flow: {self._feed.reason}"
        if self._waiting:
            return "what came instead:" + "".join(f"\n  {_event_text(event)}" for event in self._waiting)
        if self._events:
            return "what came was asked for before:" + "".join(f"\n  {_event_text(event)}" for event in self._events)
        return "nothing came: was the change committed, and is it a change of the attached table?"


def _wanted(type: str | None, fields: dict[str, object]) -> dict[str, object]:  # noqa: A002
    return fields if type is None else {"type": type, **fields}


def _matches(event: Event, order: object, wanted: dict[str, object]) -> bool:
    key = event.key if isinstance(event, OrderEvent) else event.order_id
    if order is not None and str(key) != str(order):
        return False
    return all(_equal(getattr(event, name, event.raw.get(name)), value) for name, value in wanted.items())


def _equal(found: object, wanted: object) -> bool:
    if isinstance(found, Decimal) and isinstance(wanted, int | float | str | Decimal):
        try:
            return found == Decimal(str(wanted))
        except ArithmeticError:
            return False
    return found == wanted


def _wanted_text(order: object, wanted: dict[str, object]) -> str:
    text = str(wanted.get("type", "event"))
    if order is not None:
        text += f" of order {order}"
    others = [f"{name}={value!r}" for name, value in wanted.items() if name != "type"]
    return f"{text} with {', '.join(others)}" if others else text


def _event_text(event: Event) -> str:
    subject = f"of order {event.key}" if isinstance(event, OrderEvent) else f"of {event.stream} {event.key}"
    shown = {
        name: event.raw[name] for name in ("status", "previous_status", "total", "customer_name", "data") if name in event.raw
    }
    return f"{event.type} {subject}" + "".join(f" {name}={value!r}" for name, value in shown.items())
