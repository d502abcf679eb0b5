"""The ``Bus`` over NATS: live messages by core subjects, and the latest ones in a JetStream stream in memory.

Nothing here waits for a node that does not answer: without a connection every method raises BusUnavailable at once, and ``run``
opens another one. What NATS loses, the reader finds missing and gets from PostgreSQL (push/journal/fact_journal.py).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Never

from bus.connection import BrokerOptions, Connection, open_connection
from bus.stream import FactStream
from bus.timeline import TimelineKey
from logs import FailureLog
from push.backoff import Backoff
from push.errors import BusUnavailable, PushError
from push.journal.bus import Bus

__all__ = ["NatsBus", "Subjects"]

log = logging.getLogger("orderwire.broker")

# All times are in seconds.
INITIAL_BACKOFF = 0.1
MAX_BACKOFF = 2.0
# A connection that has held for so long was a good one.
STABLE_AFTER = 2.0
# How long a new connection waits for the newest timeline before it believes what it hears.
TIMELINE_TIMEOUT = 0.5
# How long an edge waits for the relay's read.
REQUEST_TIMEOUT = 1.0
# How often the relay looks whether something is wrong with the stream, and how often it looks at the stream itself.
UPKEEP_TICK = 0.5
UPKEEP_INTERVAL = 10.0
# Messages that are not stored by then: the stream has no leader, or is gone.
ACK_TIMEOUT = 2.0
# Messages that wait for this process, in bytes. With more it reads PostgreSQL.
MAX_RECEIVED_BYTES = 64 * 1024 * 1024
# Requests of edges that are being answered. With more, those that come are not answered.
MAX_REQUESTS = 256


class Subjects(NamedTuple):
    """Names in NATS, made of which database it is: several installations may share one broker."""

    root: str

    @classmethod
    def of_database(cls, system_identifier: int, database_oid: int) -> Subjects:
        """Of a cluster and all its standbys; also of copies of its files, which must not share a broker with it."""
        return cls(f"orderwire.{system_identifier & (1 << 64) - 1:016x}_{database_oid}")

    def facts(self, timeline: int | str) -> str:
        """What the relay that reads the primary of this timeline publishes on; "*" for any."""
        return f"{self.root}.facts.{timeline}"

    @property
    def all_facts(self) -> str:
        """What the stream stores."""
        return f"{self.root}.facts.*"

    @property
    def reads(self) -> str:
        """Requests for a fresh read."""
        return f"{self.root}.read"

    @property
    def stream(self) -> str:
        """The name of the stream, and of the bucket with the timeline."""
        return self.root.replace(".", "_")


class NatsBus(Bus):
    """One per process; ``run`` is its task. ``use_database`` must have said whose facts they are before it connects.

    ``replicas`` is BROKER_REPLICAS. ``on_timeline`` is called when there is news of a newer timeline of the database than was
    known: a standby has been promoted.
    """

    def __init__(
        self, options: BrokerOptions, replicas: int | None = None, on_timeline: Callable[[int], None] = lambda _timeline: None
    ) -> None:
        self._options = options
        self._replicas = replicas
        self._on_timeline = on_timeline
        self._receive: Callable[[bytes], None] = lambda _message: None
        self._read: Callable[[], Awaitable[bytes]] | None = None
        self._subjects: Subjects | None = None
        self._has_database = asyncio.Event()
        # The newest timeline that is known, and that of the primary that this process reads while it is the relay.
        self._timeline = 0
        self._own_timeline: int | None = None
        self._connection: Connection | None = None
        self._acks = ""
        # The loop time of the first message that was sent after the latest one that is known to be stored.
        self._unstored_since: float | None = None
        self._upkeep_due = asyncio.Event()
        self._problem = "not connected to NATS yet"
        self._failures = FailureLog(log)
        self._stream_failures = FailureLog(log)
        # Problems of nodes that have been logged.
        self._reported: set[str] = set()
        self._answers: set[asyncio.Task[None]] = set()
        # Loop times: when a message of another relay came last; since when there is no connection, None while there is one.
        self.heard_at: float | None = None
        self.lost_at: float | None = None
        self.connected = asyncio.Event()

    # ---------------------------------------------------------------- the protocol

    def subscribe(self, receive: Callable[[bytes], None]) -> None:
        """The method of ``Bus``. Messages of this process do not come back to it."""
        self._receive = receive

    def serve_reads(self, read: Callable[[], Awaitable[bytes]]) -> None:
        """The method of ``Bus``. Requests are answered while ``set_relaying`` has been called with a timeline."""
        self._read = read

    async def publish(self, message: bytes) -> None:
        """Send a message, and have it stored. Returns when it is in the connection's buffer: while the stream has no leader it
        takes seconds until it is stored, and edges that listen need no stream. Raises BusUnavailable.
        """
        connection, subjects = self._require_connection()
        timeline = self._own_timeline
        if timeline is None:
            raise BusUnavailable("this server is not the relay")
        if timeline < self._timeline:
            raise BusUnavailable(
                f"this server reads an old primary, on timeline {timeline}; there is a new one, on timeline {self._timeline}"
            )
        await connection.publish(subjects.facts(timeline), message, self._acks)
        if self._unstored_since is None:
            self._unstored_since = asyncio.get_running_loop().time()

    async def stored(self, count: int) -> Sequence[bytes]:
        """The method of ``Bus``: those of the newest timeline."""
        connection, subjects = self._require_connection()
        stream = FactStream(connection, subjects.stream, subjects.all_facts)
        return await stream.newest(count, subjects.facts(self._timeline or "*"))

    async def request_read(self) -> bytes:
        """The method of ``Bus``."""
        connection, subjects = self._require_connection()
        answer: bytes = (await connection.request(subjects.reads, b"", REQUEST_TIMEOUT)).data
        return answer

    def _require_connection(self) -> tuple[Connection, Subjects]:
        if self._connection is None or self._subjects is None:
            raise BusUnavailable(self._problem)
        return self._connection, self._subjects

    # ---------------------------------------------------------------- for the composition

    @property
    def timeline(self) -> int:
        """The newest timeline of the database that is known."""
        return self._timeline

    def use_database(self, system_identifier: int, database_oid: int, timeline: int) -> None:
        """Say which database it is. If it is another one than before, the connection is replaced."""
        subjects = Subjects.of_database(system_identifier, database_oid)
        if subjects != self._subjects:
            self._subjects, self._timeline = subjects, 0
            if self._connection is not None:
                self._connection.mark_lost("the database is another one")
        self._timeline = max(self._timeline, timeline)
        self._has_database.set()

    def set_relaying(self, timeline: int | None) -> None:
        """This process reads the primary on this timeline from now on: allow ``publish``, and answer requests for reads.

        None: it does not any more.
        """
        if timeline != self._own_timeline:
            self._own_timeline, self._unstored_since = timeline, None
            self._upkeep_due.set()

    async def run(self) -> Never:
        """Connect to one of the nodes, again after each loss, until cancelled."""
        loop = asyncio.get_running_loop()
        self.lost_at = loop.time()
        await self._has_database.wait()
        backoff = Backoff(INITIAL_BACKOFF, MAX_BACKOFF)
        while True:
            for server in random.sample(self._options.servers, len(self._options.servers)):
                started_at = loop.time()
                try:
                    async with open_connection(self._options, server, self._report_rejection) as connection:
                        await self._use(connection)
                except BusUnavailable as error:
                    self._problem = str(error)
                    self._failures.report(f"no connection to NATS, events come from PostgreSQL meanwhile: {error}")
                _raise_if_cancelled()
                if loop.time() - started_at > STABLE_AFTER:
                    backoff.reset()
            await asyncio.sleep(backoff.next_delay())

    # ---------------------------------------------------------------- one connection

    async def _use(self, connection: Connection) -> None:
        """Receive until the connection is lost; then raises BusUnavailable."""
        subjects = self._subjects
        assert subjects is not None
        key = TimelineKey(connection, subjects.stream)
        with suppress(BusUnavailable, TimeoutError):
            async with asyncio.timeout(TIMELINE_TIMEOUT):
                self._note_timeline(await key.read())
        self._acks = connection.client.new_inbox()
        await connection.subscribe(self._acks, self._on_ack)
        await connection.subscribe(subjects.all_facts, self._on_fact, MAX_RECEIVED_BYTES)
        await connection.flush()
        _raise_if_cancelled()
        self._connection, self.lost_at, self._unstored_since = connection, None, None
        self.connected.set()
        self._failures.recovered(f"connected to NATS at {connection.server}")
        log.debug("connected to NATS at %s", connection.server)
        for problem, fix in connection.problems():
            if problem not in self._reported:
                self._reported.add(problem)
                log.warning("%s; to mend it: %s", problem, fix)
        tasks = [
            asyncio.create_task(connection.watch(), name="broker connection"),
            asyncio.create_task(self._keep_stream(connection, subjects, key), name="broker stream"),
        ]
        try:
            await connection.lost.wait()
        finally:
            connection.mark_lost("it was closed")
            self._connection, self.lost_at = None, asyncio.get_running_loop().time()
            self.connected.clear()
            for task in (*tasks, *self._answers):
                task.cancel()
            await asyncio.gather(*tasks, *self._answers, return_exceptions=True)
        raise BusUnavailable(connection.loss)

    async def _keep_stream(self, connection: Connection, subjects: Subjects, key: TimelineKey) -> None:
        """While this process is the relay, answer edges, and look after the stream and the timeline: create what is missing."""
        loop = asyncio.get_running_loop()
        stream = FactStream(connection, subjects.stream, subjects.all_facts)
        reads: Any = None
        looked_at = loop.time()
        self._upkeep_due.set()
        while not connection.lost.is_set():
            _raise_if_cancelled()
            is_unstored = self._unstored_since is not None and loop.time() - self._unstored_since > ACK_TIMEOUT
            is_due = self._upkeep_due.is_set() or is_unstored or loop.time() - looked_at >= UPKEEP_INTERVAL
            timeline = self._own_timeline
            if is_due:
                looked_at, self._unstored_since = loop.time(), None
                self._upkeep_due.clear()
                try:
                    if timeline is None:
                        if reads is not None:
                            await connection.unsubscribe(reads)
                        reads = None
                        self._note_timeline(await key.read())
                    else:
                        reads = reads or await connection.subscribe(subjects.reads, self._on_request)
                        replicas = await stream.ensure(self._replicas)
                        self._note_timeline(await key.raise_to(max(timeline, self._timeline), replicas))
                        self._stream_failures.recovered("the stream in NATS is there again")
                except BusUnavailable as error:
                    if timeline is not None:
                        self._stream_failures.report(f"{error}; edges that miss something read PostgreSQL meanwhile")
            with suppress(TimeoutError):
                async with asyncio.timeout(UPKEEP_TICK):
                    await self._upkeep_due.wait()

    def _note_timeline(self, timeline: int) -> None:
        if timeline > self._timeline:
            self._timeline = timeline
            self._upkeep_due.set()  # NATS is to remember it
            self._on_timeline(timeline)

    # Called by the client, each in the task of its subscription. An error would end that task.

    async def _on_fact(self, message: Any) -> None:
        timeline = int(message.subject.rpartition(".")[2])
        self._note_timeline(timeline)
        if timeline < self._timeline:
            return  # from the relay of an old primary
        self.heard_at = asyncio.get_running_loop().time()
        self._receive(message.data)

    async def _on_ack(self, message: Any) -> None:
        if message.data and b'"error"' not in message.data:
            self._unstored_since = None
        else:  # refused, or (a status without data) there is no stream
            self._upkeep_due.set()

    async def _on_request(self, message: Any) -> None:
        connection, read = self._connection, self._read
        if connection is None or read is None or self._own_timeline is None or len(self._answers) >= MAX_REQUESTS:
            return
        task = asyncio.create_task(self._answer(connection, message.reply, read), name="read for an edge")
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, connection: Connection, reply: str, read: Callable[[], Awaitable[bytes]]) -> None:
        with suppress(PushError):  # the edge reads PostgreSQL then
            await connection.publish(reply, await read())

    def _report_rejection(self, text: str) -> None:
        self._stream_failures.report(f"NATS: {text}")


def _raise_if_cancelled() -> None:
    """nats-py takes CancelledError for an answer at some of its awaits: the task would go on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
