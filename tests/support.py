"""What the tests are made of: a server process, WebSocket clients, and ways to wait for a signal instead of sleeping."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import asyncpg

from settings import Settings
from tests.helpers.server_template import ForkedProcess

ROOT = Path(__file__).resolve().parent.parent
# Generous: six tests share two cores, and a test that fails waits for it once.
TIMEOUT_SECONDS = 120.0
# What commands of ours get to see of our own environment: no setting of the developer's must change a test.
BASE_ENVIRONMENT = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
# But for this: WEBSOCKET_IO=descriptor pytest … has all servers of the tests run so.
FORWARDED_SETTINGS = {
    name: value for name, value in os.environ.items() if name in ("WEBSOCKET_IO", "NOTIFY_MODE", "COMPRESSION")
}

# WORKERS=2 pytest …: every server of the tests that does not say otherwise has so many.
WORKERS = int(os.environ.get("WORKERS") or 1)
_SETTINGS = {name.upper() for name in Settings.__dataclass_fields__}

Message = dict[str, Any]
T = TypeVar("T")

# By type: the members of the messages that were compared with the schema.
_checked: dict[str, set[frozenset[str]]] = {}


async def within(seconds: float, coroutine: Coroutine[Any, Any, T], description: str) -> T:
    """The result, or a failure that says what was waited for."""
    try:
        async with asyncio.timeout(seconds):
            return await coroutine
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {description}") from None


async def wait_until(condition: Callable[[], Awaitable[bool]], description: str, seconds: float = TIMEOUT_SECONDS) -> None:
    """Ask again and again until the condition holds, or fail and say what was waited for."""

    async def poll() -> None:
        while not await condition():
            await asyncio.sleep(0.02)

    await within(seconds, poll(), description)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file, alone among all processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def copy_checkout(directory: Path, *excluded: str) -> Path:
    """The files as they are now, without what is local to the original: names with a dot are .git, .venv, .data and caches."""
    return shutil.copytree(ROOT, directory, ignore=shutil.ignore_patterns(".*", "node_modules", "__pycache__", *excluded))


# Below the kernel's range for outgoing connections (32768 and up) and that of db/embedded.py: no other process takes a port
# while its server is down. Above 10080, the last one there that browsers refuse. Each worker of pytest-xdist ("gw0", "gw1", …)
# has a part of its own.
_PORTS_PER_WORKER = 300
_FIRST_PORT = 10_100 + _PORTS_PER_WORKER * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16)
_ports = itertools.cycle(random.sample(range(_FIRST_PORT, _FIRST_PORT + _PORTS_PER_WORKER), _PORTS_PER_WORKER))


def free_port() -> str:
    """For a server that has to come back at the same address."""
    for port in itertools.islice(_ports, _PORTS_PER_WORKER):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return str(port)
    raise AssertionError("no free port")


def url_with_role(url: str, role: str, password: str) -> str:
    """The same database as another role."""
    return url.replace(url.split("//")[1].split("@")[0], f"{role}:{password}", 1)


@asynccontextmanager
async def open_connections(url: str, count: int) -> AsyncIterator[list[Any]]:
    """So many connections to the database, for those who write at once."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            opened.append(await asyncpg.connect(url))
            stack.push_async_callback(opened[-1].close)
        yield opened


class Process:
    """A command of ours, with its output as lines that can be waited for."""

    def __init__(self, process: asyncio.subprocess.Process | ForkedProcess) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read(), name="output of a process")

    @classmethod
    async def start(
        cls, *command: str, cwd: Path = ROOT, env: dict[str, str] | None = None, stdin: int = asyncio.subprocess.DEVNULL
    ) -> Self:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env={**BASE_ENVIRONMENT, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(process)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

    async def wait_for_line(self, substring: str, start_index: int = 0, seconds: float = TIMEOUT_SECONDS) -> str:
        """The first line (from number ``start_index`` on) that contains ``substring``, now or later."""

        async def wait() -> str:
            async with self._changed:
                while True:
                    for line in self.lines[start_index:]:
                        if substring in line:
                            return line
                    if self._reader.done():
                        raise AssertionError(f"ended without saying {substring!r}: {self.output}")
                    await self._changed.wait()

        try:
            return await within(seconds, wait(), f"a line with {substring!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the output:\n{self.output}") from None

    async def wait_for_exit(self, seconds: float = TIMEOUT_SECONDS) -> int:
        code = await within(seconds, self.process.wait(), f"exit; so far: {self.output}")
        await self._reader
        return code

    async def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        with suppress(ProcessLookupError):
            self.process.send_signal(sig)
        return await self.wait_for_exit()

    async def stop_group(self) -> int:
        """End the command and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        return await self.wait_for_exit()

    async def kill(self) -> None:
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
        await self.wait_for_exit()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)


class Server(Process):
    """``python server.py serve`` on a free port."""

    @classmethod
    async def serve(cls, url: str | None, **settings: str) -> Server:
        """Start a server by a new interpreter."""
        return await cls.start(sys.executable, "server.py", "serve", env=cls._environment(url, settings))

    @classmethod
    async def fork(cls, url: str | None, **settings: str) -> Server:
        """Start a server as a fork of a process that has imported it, which takes 0.5 s of CPU less.

        By a new interpreter all the same with several workers, with a database of its own, and with variables that are no
        settings of the server.
        """
        env = cls._environment(url, settings)
        if env["WORKERS"] != "1" or url is None or not env.keys() <= _SETTINGS:
            return await cls.serve(url, **settings)
        return cls(await ForkedProcess.start(["serve"], {**BASE_ENVIRONMENT, "PYTHONUNBUFFERED": "1", **env}))

    @staticmethod
    def _environment(url: str | None, settings: dict[str, str]) -> dict[str, str]:
        env = {"PORT": "0", "WORKERS": str(WORKERS), **FORWARDED_SETTINGS, **settings}
        if "TLS_CERT_FILE" in settings:
            env.pop("WEBSOCKET_IO", None)
        if url is not None:
            env["DATABASE_URL"] = url
        return env

    async def wait_until_ready(self) -> Server:
        await self.wait_for_line("ready")
        return self

    async def wait_for_line_from_each_worker(self, substring: str) -> None:
        """Every worker has said it, in its own time."""
        after = 0
        for _ in range(WORKERS):
            after = self.lines.index(await self.wait_for_line(substring, start_index=after), after) + 1

    async def kill(self) -> None:
        """All of its processes at once, as when the machine dies."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.wait_for_exit()

    @property
    def worker_pids(self) -> dict[int, int]:
        """Process ids by the workers' numbers; empty when there is one process that does it all."""
        found = {}
        pid = self.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            raise AssertionError(f"the server has ended by itself; its output:\n{self.output}") from None
        for child in children:
            with suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if b"worker" in words:
                    found[int(words[words.index(b"worker") + 1])] = int(child)
        return found

    @property
    def serving_pids(self) -> list[int]:
        """Of the processes that serve."""
        return list(self.worker_pids.values()) or [self.process.pid]

    @property
    def ws_url(self) -> str:
        messages = (json.loads(line)["message"] if line.startswith("{") else line for line in self.lines)
        return next(message.split()[1] for message in messages if message.startswith("websocket"))

    @property
    def http_url(self) -> str:
        return self.ws_url.replace("ws://", "http://").removesuffix("/api/ws")


class Client:
    """A WebSocket client that keeps all messages; ``events`` are those with a cursor. A message that is not what
    push/protocol/schema.py says fails the test: of each type the first one with the same members is checked.

    ``wait_until`` evaluates its condition for each message: attributes that conditions use must not search all messages.
    """

    def __init__(self, session: aiohttp.ClientSession, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self.ws = ws
        self.messages: list[Message] = []
        self.events: list[Message] = []
        self._totals: Message | None = None
        self.arrival_times: list[float] = []
        self.close_code: int | None = None
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read(), name="client")

    @classmethod
    async def connect(cls, url: str, **options: Any) -> Client:
        session = aiohttp.ClientSession()
        try:
            ws = await session.ws_connect(url, max_msg_size=0, **options)
        except BaseException:
            await session.close()
            raise
        return cls(session, ws)

    async def _read(self) -> None:
        async for message in self.ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                self._add(json.loads(message.data))
                self.arrival_times.append(time.perf_counter())
                self._changed.set()
        self.close_code = self.ws.close_code
        self._changed.set()

    def _add(self, message: Message) -> None:
        self.messages.append(message)
        members = frozenset(message)
        if members not in _checked.setdefault(message["type"], set()):
            from tests.helpers.schemas import assert_message_described  # what it imports takes 0.2 s

            assert_message_described(message)
            _checked[message["type"]].add(members)
        if "id" in message:
            self.events.append(message)
        if message["type"] == "analytics_update":
            self._totals = message

    async def wait_until(self, condition: Callable[[Client], bool], description: str, seconds: float = TIMEOUT_SECONDS) -> None:
        """Return as soon as the condition holds; it is asked whenever something has arrived."""

        async def wait() -> None:
            while not condition(self):
                if self._reader.done():
                    self._reader.result()
                    raise AssertionError(f"closed with {self.close_code} before: {description}; {len(self.messages)} frames")
                self._changed.clear()
                await self._changed.wait()

        await within(seconds, wait(), f"{description}; {len(self.messages)} frames, the last: {self.messages[-3:]}")

    async def wait_closed(self, seconds: float = TIMEOUT_SECONDS) -> int | None:
        await within(seconds, asyncio.wait([self._reader]), "close")
        return self.close_code

    async def disconnect(self) -> None:
        await self.ws.close()
        await self._session.close()
        await self._reader

    async def send(self, text: str) -> None:
        await self.ws.send_str(text)

    def of_type(self, message_type: str) -> list[Message]:
        return [message for message in self.messages if message["type"] == message_type]

    @property
    def totals(self) -> Message:
        """The newest analytics_update."""
        assert self._totals is not None
        return self._totals


StartServer = Callable[..., Coroutine[Any, Any, Server]]
Connect = Callable[..., Coroutine[Any, Any, Client]]
