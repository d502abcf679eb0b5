"""WORKERS=N: N worker processes that serve on one port, and the supervisor that starts, restarts and stops them.

Each worker is a complete server. The kernel distributes new connections over their listening sockets (SO_REUSEPORT, socket(7)).
The supervisor serves no client. It has one socket pair with each worker; a message is one line of JSON, ``[kind, content,
length]``, and ``length`` bytes:

    worker → supervisor    ready · failed (reason) · samples (its metrics) · all? (asks for the metrics of all workers)
    supervisor → worker    samples? (asks for its metrics) · all (the metrics of all workers) · ending (not ready from now on) ·
                           end of stream: drain

and, unless BROKER_URL is set, those of bus/worker_bus.py: one worker reads the journal and says to the others what it has read.

The stream ends too when the supervisor is killed, so no worker outlives it by more than a drain.
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
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

from bus.worker_bus import BEAT_INTERVAL, FactExchange, WorkerBus
from gateway.net.listening import ListenError, bind_sockets, listen_error, server_address
from push.metrics import Metrics
from push.metrics_merge import Samples, WorkerMetrics, collect_samples, from_json_rows, merge, to_json_rows
from settings import Settings

__all__ = ["Supervisor", "SupervisorClient", "WorkerFailed"]

log = logging.getLogger("orderwire.workers")

# A worker that has not ended by then is killed. A drain takes up to gateway.app.DRAIN_SECONDS; the rest is for a busy machine.
EXIT_TIMEOUT_SECONDS = 20.0
# How long a worker may take to send its metrics, and the supervisor to send those of all workers.
SAMPLES_TIMEOUT_SECONDS = 1.0
MERGED_SAMPLES_TIMEOUT_SECONDS = 3.0
# Delay before a worker that ended is started again: 0.1, 0.2, 0.4 … 5 s. The series restarts for a worker that ran for
# STABLE_AFTER_SECONDS.
INITIAL_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0
STABLE_AFTER_SECONDS = 10.0
# Length of a line. The metrics of a worker are the longest; they take a small part of this.
MAX_LINE_BYTES = 1 << 22
# What may wait for a process that does not read. With more, messages to it are dropped.
MAX_WAITING_BYTES = 1 << 24


class WorkerFailed(Exception):
    """A worker could not start; the text says why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


# ---------------------------------------------------------------- the socket pair, and its end in the worker


class _WorkerConnection:
    """The connection between the supervisor and one worker: one end of a socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> Self:
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE_BYTES))

    def send(self, kind: str, content: Any = None, data: bytes = b"") -> bool:
        """Write without waiting. False if the other process does not read, or is gone: then the message is dropped."""
        if self._writer.is_closing() or self._writer.transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            return False
        self._writer.write(json.dumps([kind, content, len(data)]).encode() + b"\n" + data)
        return True

    async def messages(self) -> AsyncIterator[tuple[str, Any, bytes]]:
        """The messages until the other end is closed. An incomplete one, of a process that was killed, is dropped."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while (line := await self._reader.readline()).endswith(b"\n"):
                kind, content, length = json.loads(line)
                yield kind, content, await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


class SupervisorClient:
    """The worker's end: reports to the supervisor and follows its requests."""

    def __init__(self, connection: _WorkerConnection, worker_id: int) -> None:
        self._connection = connection
        self.worker_id = worker_id
        self.bus = WorkerBus(connection.send)
        self._merged_samples: asyncio.Future[Samples] | None = None

    @classmethod
    @asynccontextmanager
    async def connect(cls, fd: int, worker_id: int) -> AsyncIterator[SupervisorClient]:
        """``fd``: the worker's end of the socket pair, inherited from the supervisor."""
        connection = await _WorkerConnection.open(socket.socket(fileno=fd))
        try:
            yield cls(connection, worker_id)
        finally:
            connection.close()

    async def run(self, metrics: Metrics, announce_end: Callable[[], None], stop: Callable[[], None]) -> None:
        """Answer the supervisor's requests. Calls ``announce_end`` when it is about to end, and ``stop`` when it closes the
        stream or has died.
        """
        metrics.fetch_merged_samples = self._fetch_merged_samples
        async for kind, content, data in self._connection.messages():
            if self.bus.handle(kind, content, data):
                continue
            if kind == "samples?":
                self._connection.send("samples", [to_json_rows(samples) for samples in collect_samples(metrics.registry)])
            elif kind == "ending":
                announce_end()
            elif kind == "all" and self._merged_samples is not None:
                if not self._merged_samples.done():
                    self._merged_samples.set_result(from_json_rows(content))
                self._merged_samples = None
        stop()

    async def report_started(self, started: asyncio.Event) -> None:
        """Report that events flow."""
        await started.wait()
        self._connection.send("ready")

    def report_failure(self, reason: str) -> None:
        """Report why this worker cannot start. The supervisor prints it, once for all workers that fail alike."""
        self._connection.send("failed", reason)

    async def _fetch_merged_samples(self) -> Samples:
        """The metrics of all workers. Concurrent callers share one request. Raises TimeoutError."""
        if self._merged_samples is None:
            self._merged_samples = asyncio.get_running_loop().create_future()
            self._connection.send("all?")
        pending = self._merged_samples
        try:
            async with asyncio.timeout(MERGED_SAMPLES_TIMEOUT_SECONDS):
                return await asyncio.shield(pending)
        except TimeoutError:
            if self._merged_samples is pending:  # the request or the answer may have been dropped: the next caller asks again
                self._merged_samples = None
            raise


# ---------------------------------------------------------------- the supervisor


@asynccontextmanager
async def _sigint_blocked(lock: asyncio.Lock) -> AsyncIterator[None]:
    """Processes started in the block ignore SIGINT: Ctrl-C is sent to every process of the terminal, and the supervisor asks
    the workers to drain. The signal mask is inherited (sigprocmask(2)), so it holds even while a worker's Python starts.
    """
    async with lock:  # a concurrent block would save and restore the mask of this one
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """One of the N workers, across restarts of its process."""

    def __init__(self, worker_id: int) -> None:
        self.worker_id = worker_id
        self.metrics = WorkerMetrics()
        self.process: Process | None = None
        self.connection: _WorkerConnection | None = None
        self.ready = False
        self.failure = ""
        self.exited = asyncio.Event()
        self._pending_samples: asyncio.Future[None] | None = None

    async def start(self, environment: dict[str, str], spawn_lock: asyncio.Lock) -> None:
        """Start the process. Raises OSError if the system cannot (no memory, no more processes or files)."""
        self.failure = ""
        ours, theirs = socket.socketpair()
        with theirs:
            self.connection = await _WorkerConnection.open(ours)
            program = str(Path(__file__).parent.parent / "server.py")
            try:
                async with _sigint_blocked(spawn_lock):
                    self.process = await asyncio.create_subprocess_exec(
                        *(sys.executable, program, "worker", str(self.worker_id), str(theirs.fileno())),
                        env=environment,
                        stdin=asyncio.subprocess.DEVNULL,
                        pass_fds=[theirs.fileno()],
                    )
            except OSError:
                self.connection.close()
                self.connection = None
                raise

    async def refresh_metrics(self) -> None:
        """Request its metrics and wait for them. Without an answer in time its counts stay and its gauges are dropped."""
        if self.connection is None:
            return
        if self._pending_samples is None:
            self._pending_samples = asyncio.get_running_loop().create_future()
            self.connection.send("samples?")
        pending = self._pending_samples
        done, _ = await asyncio.wait([pending], timeout=SAMPLES_TIMEOUT_SECONDS)
        if not done:
            self.metrics.mark_unavailable()
            if self._pending_samples is pending:  # the request may have been dropped: the next caller asks again
                self._pending_samples = None

    def receive_samples(self, content: Any) -> None:
        counts, gauges = map(from_json_rows, content)
        self.metrics.update(counts, gauges)
        self._resolve_pending_samples()

    async def reap(self) -> int:
        """Wait for the process after its stream has ended. Returns the exit code; below zero: killed by that signal."""
        assert self.process is not None
        assert self.connection is not None
        code = await self.process.wait()
        self.connection.close()
        self.process = self.connection = None
        self.metrics.retire()
        self._resolve_pending_samples()
        return code

    def _resolve_pending_samples(self) -> None:
        if self._pending_samples is not None:
            self._pending_samples.set_result(None)
            self._pending_samples = None


class Supervisor:
    """Starts the workers, restarts those that end, merges their metrics, drains them. Lives in the supervisor process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers = [_Worker(worker_id) for worker_id in range(1, settings.workers + 1)]
        self._environment: dict[str, str] = {}
        self._reserved: list[socket.socket] = []
        self._spawn_lock = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._is_ending = False
        self._exchange = FactExchange()
        self._answer_tasks: set[asyncio.Task[None]] = set()
        # Set once, when events flow in all workers.
        self.started = asyncio.Event()

    async def reserve_port(self) -> None:
        """Bind the port without listening on it, so that it stays reserved while workers restart. Raises ListenError.

        The bind is without SO_REUSEPORT, so it fails if another process listens on the port, even another supervisor with its
        workers (unless both start at the same moment). The option is set afterwards: the workers can bind the port too.
        """
        host, port = self._settings.host, self._settings.port
        if not hasattr(socket, "SO_REUSEPORT"):
            raise ListenError(
                f"WORKERS={self._settings.workers}: on this system processes cannot share a port; WORKERS=1 works"
            )
        try:
            self._reserved = await bind_sockets(host, port)
            for sock in self._reserved:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except (OSError, OverflowError) as error:
            raise listen_error(host, port, error) from error

    @property
    def address(self) -> str:
        """host:port as a browser on this machine reaches it."""
        return server_address(self._reserved)

    def tasks(self, database_url: str) -> dict[str, Coroutine[Any, Any, None]]:
        """The tasks that supervise the workers, by name. ``reserve_port`` must have been called."""
        port = self._reserved[0].getsockname()[1]
        # As environment, not as arguments: every user of the machine can read the arguments of a process.
        own = {"DATABASE_URL": database_url, "PORT": str(port), "WORKERS": str(len(self._workers))}
        self._environment = {**os.environ, **own}
        workers = {f"worker {worker.worker_id}": self._supervise(worker) for worker in self._workers}
        return {"relay of the workers": self._watch_relay(), **workers}

    async def _watch_relay(self) -> None:
        """Until the drain, replace the worker that reads for all when it hangs."""
        while not self._stopping.is_set():
            self._exchange.replace_silent_relay()
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_INTERVAL):
                    await self._stopping.wait()

    async def _supervise(self, worker: _Worker) -> None:
        """Run the worker until the drain. Raises WorkerFailed if it exits with an error before all workers were ready."""
        try:
            await self._run_with_restarts(worker)
        finally:
            worker.exited.set()

    async def _run_with_restarts(self, worker: _Worker) -> None:
        failures = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            try:
                await worker.start(self._environment, self._spawn_lock)
                code = await self._run_process(worker)
            except OSError as error:
                code, worker.failure = 1, str(error)
            if self._stopping.is_set():
                return
            if code > 0 and not self.started.is_set():
                raise WorkerFailed(worker.failure or f"worker {worker.worker_id} could not start: exit code {code}", code)
            failures = 1 if time.monotonic() - started_at > STABLE_AFTER_SECONDS else min(failures + 1, 10)
            reason = worker.failure or (f"exit code {code}" if code >= 0 else signal.strsignal(-code))
            log.warning("worker %d has ended (%s): starting another", worker.worker_id, reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(MAX_BACKOFF_SECONDS, INITIAL_BACKOFF_SECONDS * 2 ** (failures - 1))):
                    await self._stopping.wait()

    async def _run_process(self, worker: _Worker) -> int:
        """Handle the messages of one process of the worker until it ends; returns its exit code."""
        assert worker.connection is not None
        if self._stopping.is_set():
            worker.connection.close()
        elif self._is_ending:
            worker.connection.send("ending")
        send = worker.connection.send
        async for kind, content, data in worker.connection.messages():
            if self._exchange.handle(worker.worker_id, send, kind, content, data):
                continue
            if kind == "ready":
                worker.ready = True
                if all(other.ready for other in self._workers):
                    self.started.set()
            elif kind == "failed":
                worker.failure = content
            elif kind == "samples":
                worker.receive_samples(content)
            elif kind == "all?":
                task = asyncio.create_task(self._send_merged_samples(worker.connection), name="metrics of all workers")
                self._answer_tasks.add(task)
                task.add_done_callback(self._answer_tasks.discard)
        self._exchange.remove(worker.worker_id)
        return await worker.reap()

    async def _send_merged_samples(self, connection: _WorkerConnection) -> None:
        await asyncio.gather(*(worker.refresh_metrics() for worker in self._workers))
        connection.send("all", to_json_rows(merge(worker.metrics.samples for worker in self._workers)))

    def announce_end(self) -> None:
        """Let all workers answer /readyz with 503 from now on, those too that are started from now on."""
        self._is_ending = True
        for worker in self._workers:
            if worker.connection is not None:
                worker.connection.send("ending")

    async def drain(self) -> None:
        """Have all workers drain at the same time and wait for their end; kill those that exceed EXIT_TIMEOUT_SECONDS."""
        self._stopping.set()
        for worker in self._workers:
            if worker.connection is not None:
                worker.connection.close()
        waiting = asyncio.gather(*(worker.exited.wait() for worker in self._workers))
        with suppress(TimeoutError):
            async with asyncio.timeout(EXIT_TIMEOUT_SECONDS):
                await asyncio.shield(waiting)
        for worker in self._workers:
            if worker.process is not None:
                log.warning("worker %d did not end in %g s: killed", worker.worker_id, EXIT_TIMEOUT_SECONDS)
                worker.process.kill()
        await waiting
        self.release_port()

    def release_port(self) -> None:
        """Let other programs bind the port again."""
        for sock in self._reserved:
            sock.close()
