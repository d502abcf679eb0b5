"""WORKERS=N: N processes that serve on one port, and the supervisor that looks after them.

Each worker is a whole server with a LISTEN connection of its own, and knows nothing of the others. The kernel spreads new
connections over their sockets (SO_REUSEPORT, socket(7)). The supervisor serves nobody. Between it and each worker there is one
pair of sockets, with a line of JSON for each message:

    worker → supervisor    ready · failed (why) · samples (its metrics) · all? (what are everybody's?)
    supervisor → worker    samples? · all (everybody's) · the end of the stream: drain

That end comes too when the supervisor is killed in whatever way, so that no worker outlives it for longer than a drain.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

from gateway.app import CannotListen, address_of, cannot_listen
from push.joined import Samples, Share, as_text, from_text, join, taken
from push.metrics import Metrics
from settings import Settings

__all__ = ["Supervised", "WorkerFailed", "Workers"]

log = logging.getLogger("orderwire.workers")

# A drain has a bound of its own (gateway.app.DRAIN_SECONDS); the rest is for a machine that is busy.
END_SECONDS = 20.0
# How long a worker may take to say what its metrics are, and the supervisor to say what everybody's are.
SAMPLES_SECONDS = 1.0
ALL_SECONDS = 3.0
# Before another one is started: 0.1, 0.2, 0.4 … 5 s. The death of one that has lived for a while begins the series anew.
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MOST_SECONDS = 5.0
STEADY_SECONDS = 10.0
# Metrics in one line; a hundred label values more would not fill it.
LINE_BYTES = 1 << 22


class WorkerFailed(Exception):
    """A worker could not start at all; the text says why."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


# ---------------------------------------------------------------- both ends of the pair of sockets


class _Line:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on(cls, sock: socket.socket) -> Self:
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=LINE_BYTES))

    def send(self, kind: str, content: Any = None) -> None:
        """Does not wait: there is one question at a time in each direction, so little can pile up."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps([kind, content]).encode() + b"\n")

    async def messages(self) -> AsyncIterator[tuple[str, Any]]:
        """Until the other end is closed. One that was killed may have left half a line."""
        with suppress(ConnectionError):
            while (line := await self._reader.readline()).endswith(b"\n"):
                kind, content = json.loads(line)
                yield kind, content

    def close(self) -> None:
        self._writer.close()


class Supervised:
    """What a worker has to do with its supervisor."""

    def __init__(self, line: _Line, number: int) -> None:
        self._line = line
        self.number = number
        self._all: asyncio.Future[Samples] | None = None

    @classmethod
    @asynccontextmanager
    async def by(cls, fd: int, number: int) -> AsyncIterator[Supervised]:
        """``fd``: our end, which we were started with."""
        line = await _Line.on(socket.socket(fileno=fd))
        try:
            yield cls(line, number)
        finally:
            line.close()

    async def obey(self, stop: asyncio.Event, metrics: Metrics) -> None:
        """Do what the supervisor wants, and set ``stop`` when it wants us to end, or is gone."""
        metrics.ask_all = self._ask_all
        async for kind, content in self._line.messages():
            if kind == "samples?":
                self._line.send("samples", [as_text(samples) for samples in taken(metrics.registry)])
            elif kind == "all" and self._all is not None:
                if not self._all.done():
                    self._all.set_result(from_text(content))
                self._all = None
        stop.set()

    async def announce(self, flowing: asyncio.Event) -> None:
        """Once events flow, say so."""
        await flowing.wait()
        self._line.send("ready")

    def failed(self, why: str) -> None:
        """It is the supervisor who tells people: of all workers that fail alike, once."""
        self._line.send("failed", why)

    async def _ask_all(self) -> Samples:
        """Raises TimeoutError. Who asks while an answer is under way gets that one."""
        if self._all is None:
            self._all = asyncio.get_running_loop().create_future()
            self._line.send("all?")
        async with asyncio.timeout(ALL_SECONDS):
            return await asyncio.shield(self._all)


# ---------------------------------------------------------------- the supervisor


@asynccontextmanager
async def _sigint_held_back(lock: asyncio.Lock) -> AsyncIterator[None]:
    """What is started in here never sees a SIGINT: Ctrl-C goes to everybody on the terminal, and workers are told to drain by
    the supervisor, once. A mask is inherited (sigprocmask(2)), so not even one that is only being imported can stumble over it.
    """
    async with lock:  # else the second one would take the first one's mask for what was before
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """One of the N, through all its lives."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.share = Share()
        self.process: Process | None = None
        self.line: _Line | None = None
        self.ready = False
        self.why = ""
        self.gone = asyncio.Event()
        self._samples: asyncio.Future[None] | None = None

    async def start(self, environment: dict[str, str], lock: asyncio.Lock) -> None:
        """Raises OSError when the system has no room for it."""
        self.why = ""
        ours, theirs = socket.socketpair()
        with theirs:
            self.line = await _Line.on(ours)
            program = str(Path(__file__).with_name("server.py"))
            try:
                async with _sigint_held_back(lock):
                    self.process = await asyncio.create_subprocess_exec(
                        *(sys.executable, program, "worker", str(self.number), str(theirs.fileno())),
                        env=environment,
                        stdin=asyncio.subprocess.DEVNULL,
                        pass_fds=[theirs.fileno()],
                    )
            except OSError:
                self.line.close()
                self.line = None
                raise

    async def ask(self) -> None:
        """Have its share of the metrics be as of now, or as of its last answer if there is none in time."""
        if self.line is None:
            return
        if self._samples is None:
            self._samples = asyncio.get_running_loop().create_future()
            self.line.send("samples?")
        done, _ = await asyncio.wait([self._samples], timeout=SAMPLES_SECONDS)
        if not done:
            self.share.silent()

    def answer(self, content: Any) -> None:
        counts, gauges = map(from_text, content)
        self.share.take(counts, gauges)
        self._answered()

    async def end(self) -> int:
        """It has hung up: wait for it, and bury it. Returns the exit code, below zero when it was a signal."""
        assert self.process is not None
        assert self.line is not None
        code = await self.process.wait()
        self.line.close()
        self.process = self.line = None
        self.share.died()
        self._answered()
        return code

    def _answered(self) -> None:
        if self._samples is not None:
            self._samples.set_result(None)
            self._samples = None


class Workers:
    """All of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers = [_Worker(number + 1) for number in range(settings.workers)]
        self._environment: dict[str, str] = {}
        self._reserved: asyncio.Server | None = None
        self._starting = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._answers: set[asyncio.Task[None]] = set()
        # Set for good when events flow in all of them.
        self.flowing = asyncio.Event()

    async def reserve(self) -> None:
        """Take the port without listening on it: connections go to those alone that do. Raises CannotListen.

        The first bind is without SO_REUSEPORT and so fails when anybody listens there, another team of workers too (but for
        one that is being started in the same second); the workers can join once the option is set.
        """
        host, port = self._settings.host, self._settings.port
        if not hasattr(socket, "SO_REUSEPORT"):
            raise CannotListen(
                f"WORKERS={self._settings.workers}: on this system processes cannot share a port; WORKERS=1 works"
            )
        loop = asyncio.get_running_loop()
        try:
            self._reserved = await loop.create_server(asyncio.Protocol, host, port, reuse_address=True, start_serving=False)
            for sock in self._reserved.sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except (OSError, OverflowError) as error:
            raise cannot_listen(host, port, error) from error

    @property
    def address(self) -> str:
        """See Gateway.address."""
        assert self._reserved is not None
        return address_of(self._reserved)

    def tasks(self, database_url: str) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run, by name."""
        assert self._reserved is not None
        port = self._reserved.sockets[0].getsockname()[1]
        found = {"DATABASE_URL": database_url, "PORT": str(port), "WORKERS": str(len(self._workers))}
        self._environment = {**os.environ, **found}  # not as arguments: those are public
        return {f"worker {worker.number}": self._keep(worker) for worker in self._workers}

    async def _keep(self, worker: _Worker) -> None:
        """Have it run until the end. Raises WorkerFailed if it cannot even start."""
        try:
            await self._keep_alive(worker)
        finally:
            worker.gone.set()

    async def _keep_alive(self, worker: _Worker) -> None:
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                await worker.start(self._environment, self._starting)
                code = await self._follow(worker)
            except OSError as error:
                code, worker.why = 1, str(error)
            if self._stopping.is_set():
                return
            if code > 0 and not self.flowing.is_set():
                raise WorkerFailed(worker.why or f"worker {worker.number} could not start: exit code {code}", code)
            failures = 1 if time.monotonic() - begun > STEADY_SECONDS else min(failures + 1, 10)
            how = worker.why or (f"exit code {code}" if code >= 0 else signal.strsignal(-code))
            log.warning("worker %d has ended (%s): starting another", worker.number, how)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** (failures - 1))):
                    await self._stopping.wait()

    async def _follow(self, worker: _Worker) -> int:
        """One life of it; returns its exit code."""
        assert worker.line is not None
        if self._stopping.is_set():
            worker.line.close()
        async for kind, content in worker.line.messages():
            if kind == "ready":
                worker.ready = True
                if all(one.ready for one in self._workers):
                    self.flowing.set()
            elif kind == "failed":
                worker.why = content
            elif kind == "samples":
                worker.answer(content)
            elif kind == "all?":
                task = asyncio.create_task(self._tell_all(worker.line), name="metrics of all workers")
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)
        return await worker.end()

    async def _tell_all(self, line: _Line) -> None:
        await asyncio.gather(*(worker.ask() for worker in self._workers))
        line.send("all", as_text(join(worker.share.samples for worker in self._workers)))

    async def drain(self) -> None:
        """Have all of them drain at once, and see that they end."""
        self._stopping.set()
        for worker in self._workers:
            if worker.line is not None:
                worker.line.close()
        waiting = asyncio.gather(*(worker.gone.wait() for worker in self._workers))
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await asyncio.shield(waiting)
        for worker in self._workers:
            if worker.process is not None:
                log.warning("worker %d did not end in %g s: killed", worker.number, END_SECONDS)
                worker.process.kill()
        await waiting
        assert self._reserved is not None
        self._reserved.close()
