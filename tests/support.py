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
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import asyncpg

ROOT = Path(__file__).resolve().parent.parent
# Generous: six tests share two cores, and a test that fails waits for it once.
PATIENCE_SECONDS = 120.0
# What commands of ours get to see of our own environment: no setting of the developer's must change a test.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
# But for this: WEBSOCKET_IO=descriptor pytest … has all servers of the tests run so.
MODE = {name: value for name, value in os.environ.items() if name in ("WEBSOCKET_IO", "NOTIFY_MODE", "COMPRESSION")}

# WORKERS=2 pytest …: every server of the tests that does not say otherwise has so many.
WORKERS = int(os.environ.get("WORKERS") or 1)

Frame = dict[str, Any]
T = TypeVar("T")


async def within(seconds: float, waiting: Coroutine[Any, Any, T], what: str) -> T:
    """The result, or a failure that says what was waited for."""
    try:
        async with asyncio.timeout(seconds):
            return await waiting
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file, alone among all processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def copy_checkout(directory: Path, *without: str) -> Path:
    """The files as they are now, without what is local to the original: names with a dot are .git, .venv, .data and caches."""
    return shutil.copytree(ROOT, directory, ignore=shutil.ignore_patterns(".*", "node_modules", "__pycache__", *without))


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


def with_role(url: str, role: str, password: str) -> str:
    """The same database as another role."""
    return url.replace(url.split("//")[1].split("@")[0], f"{role}:{password}", 1)


@asynccontextmanager
async def connections(url: str, count: int) -> AsyncIterator[list[Any]]:
    """So many connections to the database, for those who write at once."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            opened.append(await asyncpg.connect(url))
            stack.push_async_callback(opened[-1].close)
        yield opened


class Process:
    """A command of ours, with its output as lines that can be waited for."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
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
            env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1", **(env or {})},
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

    async def line(self, part: str, after: int = 0, seconds: float = PATIENCE_SECONDS) -> str:
        """The first line (from number ``after`` on) that contains ``part``, now or later."""

        async def wait() -> str:
            async with self._changed:
                while True:
                    for line in self.lines[after:]:
                        if part in line:
                            return line
                    if self._reader.done():
                        raise AssertionError(f"ended without saying {part!r}: {self.text}")
                    await self._changed.wait()

        return await within(seconds, wait(), f"{part!r} in {self.text}")

    async def exit_code(self, seconds: float = PATIENCE_SECONDS) -> int:
        code = await within(seconds, self.process.wait(), f"exit; so far: {self.text}")
        await self._reader
        return code

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        with suppress(ProcessLookupError):
            self.process.send_signal(how)
        return await self.exit_code()

    async def stop_group(self) -> int:
        """End the command and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        return await self.exit_code()

    async def kill(self) -> None:
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
        await self.exit_code()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Server(Process):
    """``python server.py serve`` on a free port."""

    @classmethod
    async def serve(cls, url: str | None, **settings: str) -> Server:
        env = {"PORT": "0", "WORKERS": str(WORKERS), **MODE, **settings}
        if "TLS_CERT_FILE" in settings:
            env.pop("WEBSOCKET_IO", None)
        if url is not None:
            env["DATABASE_URL"] = url
        return await cls.start(sys.executable, "server.py", "serve", env=env)

    async def ready(self) -> Server:
        await self.line("ready")
        return self

    async def each_says(self, part: str) -> None:
        """Every worker has said it, in its own time."""
        after = 0
        for _ in range(WORKERS):
            after = self.lines.index(await self.line(part, after=after), after) + 1

    async def kill(self) -> None:
        """All of its processes at once, as when the machine dies."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.exit_code()

    @property
    def workers(self) -> dict[int, int]:
        """Process ids by the workers' numbers; empty when there is one process that does it all."""
        found = {}
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if b"worker" in words:
                    found[int(words[words.index(b"worker") + 1])] = int(child)
        return found

    @property
    def pids(self) -> list[int]:
        """Of the processes that serve."""
        return list(self.workers.values()) or [self.process.pid]

    @property
    def ws_url(self) -> str:
        return next(line.split()[1] for line in self.lines if line.startswith("websocket"))

    @property
    def http_url(self) -> str:
        return self.ws_url.replace("ws://", "http://").removesuffix("/api/ws")


class Client:
    """A dashboard: one WebSocket. ``frames`` are all that came, ``events`` those of them that carry a change."""

    def __init__(self, session: aiohttp.ClientSession, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self.ws = ws
        self.frames: list[Frame] = []
        self.events: list[Frame] = []
        self.arrived: list[float] = []
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
                frame = json.loads(message.data)
                self.frames.append(frame)
                if "id" in frame:
                    self.events.append(frame)
                self.arrived.append(time.perf_counter())
                self._changed.set()
        self.close_code = self.ws.close_code
        self._changed.set()

    async def until(self, condition: Callable[[Client], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Return as soon as the condition holds; it is asked whenever something has arrived."""

        async def wait() -> None:
            while not condition(self):
                if self._reader.done():
                    raise AssertionError(f"closed with {self.close_code} before: {what}; {len(self.frames)} frames")
                self._changed.clear()
                await self._changed.wait()

        await within(seconds, wait(), f"{what}; {len(self.frames)} frames, the last: {self.frames[-3:]}")

    async def closed(self, seconds: float = PATIENCE_SECONDS) -> int | None:
        await within(seconds, asyncio.wait([self._reader]), "close")
        return self.close_code

    async def disconnect(self) -> None:
        await self.ws.close()
        await self._session.close()
        await asyncio.wait([self._reader])

    async def send(self, text: str) -> None:
        await self.ws.send_str(text)

    def of(self, kind: str) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] == kind]

    @property
    def totals(self) -> Frame:
        """The newest analytics_update."""
        return self.of("analytics_update")[-1]
