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

from gateway.net.listening import ListenError, listen_error, server_address
from push.metrics import Metrics
from push.metrics_merge import Samples, WorkerMetrics, collect_samples, from_json_rows, merge, to_json_rows
from settings import Settings

__all__ = ["Supervisor", "SupervisorClient", "WorkerFailed"]

log = logging.getLogger("orderwire.workers")

# A drain has a bound of its own (gateway.app.DRAIN_SECONDS); the rest is for a machine that is busy.
EXIT_TIMEOUT_SECONDS = 20.0
# How long a worker may take to say what its metrics are, and the supervisor to say what everybody's are.
SAMPLES_TIMEOUT_SECONDS = 1.0
MERGED_SAMPLES_TIMEOUT_SECONDS = 3.0
# Before another one is started: 0.1, 0.2, 0.4 … 5 s. The death of one that has lived for a while begins the series anew.
INITIAL_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0
STABLE_AFTER_SECONDS = 10.0
# Metrics in one line; a hundred label values more would not fill it.
MAX_LINE_BYTES = 1 << 22


class WorkerFailed(Exception):
    """A worker could not start at all; the text says why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


# ---------------------------------------------------------------- both ends of the pair of sockets


class _Pipe:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> Self:
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE_BYTES))

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


class SupervisorClient:
    """What a worker has to do with its supervisor."""

    def __init__(self, pipe: _Pipe, worker_id: int) -> None:
        self._pipe = pipe
        self.worker_id = worker_id
        self._merged_samples: asyncio.Future[Samples] | None = None

    @classmethod
    @asynccontextmanager
    async def connect(cls, fd: int, worker_id: int) -> AsyncIterator[SupervisorClient]:
        """``fd``: our end, which we were started with."""
        line = await _Pipe.open(socket.socket(fileno=fd))
        try:
            yield cls(line, worker_id)
        finally:
            line.close()

    async def run(self, stop: asyncio.Event, metrics: Metrics) -> None:
        """Do what the supervisor wants, and set ``stop`` when it wants us to end, or is gone."""
        metrics.fetch_merged_samples = self._fetch_merged_samples
        async for kind, content in self._pipe.messages():
            if kind == "samples?":
                self._pipe.send("samples", [to_json_rows(samples) for samples in collect_samples(metrics.registry)])
            elif kind == "all" and self._merged_samples is not None:
                if not self._merged_samples.done():
                    self._merged_samples.set_result(from_json_rows(content))
                self._merged_samples = None
        stop.set()

    async def announce_started(self, started: asyncio.Event) -> None:
        """Once events flow, say so."""
        await started.wait()
        self._pipe.send("ready")

    def report_failure(self, reason: str) -> None:
        """It is the supervisor who tells people: of all workers that fail alike, once."""
        self._pipe.send("failed", reason)

    async def _fetch_merged_samples(self) -> Samples:
        """Raises TimeoutError. Who asks while an answer is under way gets that one."""
        if self._merged_samples is None:
            self._merged_samples = asyncio.get_running_loop().create_future()
            self._pipe.send("all?")
        async with asyncio.timeout(MERGED_SAMPLES_TIMEOUT_SECONDS):
            return await asyncio.shield(self._merged_samples)


# ---------------------------------------------------------------- the supervisor


@asynccontextmanager
async def _sigint_blocked(lock: asyncio.Lock) -> AsyncIterator[None]:
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

    def __init__(self, worker_id: int) -> None:
        self.worker_id = worker_id
        self.metrics = WorkerMetrics()
        self.process: Process | None = None
        self.pipe: _Pipe | None = None
        self.ready = False
        self.failure = ""
        self.exited = asyncio.Event()
        self._pending_samples: asyncio.Future[None] | None = None

    async def start(self, environment: dict[str, str], spawn_lock: asyncio.Lock) -> None:
        """Raises OSError when the system has no room for it."""
        self.failure = ""
        ours, theirs = socket.socketpair()
        with theirs:
            self.pipe = await _Pipe.open(ours)
            program = str(Path(__file__).with_name("server.py"))
            try:
                async with _sigint_blocked(spawn_lock):
                    self.process = await asyncio.create_subprocess_exec(
                        *(sys.executable, program, "worker", str(self.worker_id), str(theirs.fileno())),
                        env=environment,
                        stdin=asyncio.subprocess.DEVNULL,
                        pass_fds=[theirs.fileno()],
                    )
            except OSError:
                self.pipe.close()
                self.pipe = None
                raise

    async def refresh_metrics(self) -> None:
        """Have its share of the metrics be as of now, or as of its last answer if there is none in time."""
        if self.pipe is None:
            return
        if self._pending_samples is None:
            self._pending_samples = asyncio.get_running_loop().create_future()
            self.pipe.send("samples?")
        done, _ = await asyncio.wait([self._pending_samples], timeout=SAMPLES_TIMEOUT_SECONDS)
        if not done:
            self.metrics.mark_unavailable()

    def receive_samples(self, content: Any) -> None:
        counts, gauges = map(from_json_rows, content)
        self.metrics.update(counts, gauges)
        self._resolve_pending_samples()

    async def reap(self) -> int:
        """It has hung up: wait for it, and bury it. Returns the exit code, below zero when it was a signal."""
        assert self.process is not None
        assert self.pipe is not None
        code = await self.process.wait()
        self.pipe.close()
        self.process = self.pipe = None
        self.metrics.retire()
        self._resolve_pending_samples()
        return code

    def _resolve_pending_samples(self) -> None:
        if self._pending_samples is not None:
            self._pending_samples.set_result(None)
            self._pending_samples = None


class Supervisor:
    """All of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers = [_Worker(number + 1) for number in range(settings.workers)]
        self._environment: dict[str, str] = {}
        self._reserved_server: asyncio.Server | None = None
        self._spawn_lock = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._answer_tasks: set[asyncio.Task[None]] = set()
        # Set for good when events flow in all of them.
        self.started = asyncio.Event()

    async def reserve_port(self) -> None:
        """Take the port without listening on it: connections go to those alone that do. Raises CannotListen.

        The first bind is without SO_REUSEPORT and so fails when anybody listens there, another team of workers too (but for
        one that is being started in the same second); the workers can join once the option is set.
        """
        host, port = self._settings.host, self._settings.port
        if not hasattr(socket, "SO_REUSEPORT"):
            raise ListenError(
                f"WORKERS={self._settings.workers}: on this system processes cannot share a port; WORKERS=1 works"
            )
        loop = asyncio.get_running_loop()
        try:
            self._reserved_server = await loop.create_server(
                asyncio.Protocol, host, port, reuse_address=True, start_serving=False
            )
            for sock in self._reserved_server.sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except (OSError, OverflowError) as error:
            raise listen_error(host, port, error) from error

    @property
    def address(self) -> str:
        """See Gateway.address."""
        assert self._reserved_server is not None
        return server_address(self._reserved_server)

    def tasks(self, database_url: str) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run, by name."""
        assert self._reserved_server is not None
        port = self._reserved_server.sockets[0].getsockname()[1]
        found = {"DATABASE_URL": database_url, "PORT": str(port), "WORKERS": str(len(self._workers))}
        self._environment = {**os.environ, **found}  # not as arguments: those are public
        return {f"worker {worker.worker_id}": self._supervise(worker) for worker in self._workers}

    async def _supervise(self, worker: _Worker) -> None:
        """Have it run until the end. Raises WorkerFailed if it cannot even start."""
        try:
            await self._run_with_restarts(worker)
        finally:
            worker.exited.set()

    async def _run_with_restarts(self, worker: _Worker) -> None:
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                await worker.start(self._environment, self._spawn_lock)
                code = await self._handle_messages(worker)
            except OSError as error:
                code, worker.failure = 1, str(error)
            if self._stopping.is_set():
                return
            if code > 0 and not self.started.is_set():
                raise WorkerFailed(worker.failure or f"worker {worker.worker_id} could not start: exit code {code}", code)
            failures = 1 if time.monotonic() - begun > STABLE_AFTER_SECONDS else min(failures + 1, 10)
            how = worker.failure or (f"exit code {code}" if code >= 0 else signal.strsignal(-code))
            log.warning("worker %d has ended (%s): starting another", worker.worker_id, how)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(MAX_BACKOFF_SECONDS, INITIAL_BACKOFF_SECONDS * 2 ** (failures - 1))):
                    await self._stopping.wait()

    async def _handle_messages(self, worker: _Worker) -> int:
        """One life of it; returns its exit code."""
        assert worker.pipe is not None
        if self._stopping.is_set():
            worker.pipe.close()
        async for kind, content in worker.pipe.messages():
            if kind == "ready":
                worker.ready = True
                if all(one.ready for one in self._workers):
                    self.started.set()
            elif kind == "failed":
                worker.failure = content
            elif kind == "samples":
                worker.receive_samples(content)
            elif kind == "all?":
                task = asyncio.create_task(self._send_merged_samples(worker.pipe), name="metrics of all workers")
                self._answer_tasks.add(task)
                task.add_done_callback(self._answer_tasks.discard)
        return await worker.reap()

    async def _send_merged_samples(self, pipe: _Pipe) -> None:
        await asyncio.gather(*(worker.refresh_metrics() for worker in self._workers))
        pipe.send("all", to_json_rows(merge(worker.metrics.samples for worker in self._workers)))

    async def drain(self) -> None:
        """Have all of them drain at once, and see that they end."""
        self._stopping.set()
        for worker in self._workers:
            if worker.pipe is not None:
                worker.pipe.close()
        waiting = asyncio.gather(*(worker.exited.wait() for worker in self._workers))
        with suppress(TimeoutError):
            async with asyncio.timeout(EXIT_TIMEOUT_SECONDS):
                await asyncio.shield(waiting)
        for worker in self._workers:
            if worker.process is not None:
                log.warning("worker %d did not end in %g s: killed", worker.worker_id, EXIT_TIMEOUT_SECONDS)
                worker.process.kill()
        await waiting
        assert self._reserved_server is not None
        self._reserved_server.close()
