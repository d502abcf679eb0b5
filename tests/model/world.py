"""Two servers, their clients and the model of the database, on one event loop with a virtual clock.

The clock jumps to the next timer whenever no task can run, so waiting costs nothing and each run is deterministic.
"""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, Never

from gateway.auth.tokens import TokenVerifier
from push.admission import ConnectParams, SessionManager
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.errors import ConnectionLost
from push.journal.events import Event
from push.journal.notify_policy import NotifyMode, NotifyPolicy
from push.journal.recent_events import RecentEvents
from push.journal.relay import Relay
from push.journal.replay import ReplayPlanner
from push.journal.totals import Totals
from push.protocol.access import ANONYMOUS_GRANT, Grant, Role, TopicLookup
from push.protocol.messages import CloseCode
from tests.helpers.fake_transport import FakeTransport
from tests.model.database import STREAM, STREAM_ROWS, ModelConnection, ModelDatabase, ModelReader

# Per server: the first resumes mostly from memory, the second mostly from the journal.
RECENT_EVENTS = (16, 6)
QUEUE_MESSAGES = 8
CONFLATE_EVENTS = 2


class _Clock(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "deadlock: no task can run and no timer is set"
        self.now += max(0.0, timeout)
        return []  # nothing here reads from sockets


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


class WatchedHub(Hub):
    """Records what is published. Fails if an event is published twice, or if the totals are not the sum of the events."""

    def __init__(self) -> None:
        super().__init__()
        self.published: set[int] = set()
        self._base: Totals | None = None

    @property
    def has_clients(self) -> bool:
        return True  # without clients the relay reads less often

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        assert self.published.isdisjoint(event.id for event in events), "published twice"
        assert self.totals.plus(events) == totals
        self.published.update(event.id for event in events)
        super().publish(events, totals)

    def announce_gap(self) -> None:
        raise AssertionError("there was no gap")


class FixedNotifyPolicy(NotifyPolicy):
    """Polls when the test says so, instead of by the measured load."""

    def __init__(self) -> None:
        super().__init__(NotifyMode.AUTO)
        self.polls = False

    def should_poll(self, now: float) -> bool:
        return self.polls


class ModelLookup(TopicLookup):
    """The model has no customers with a subject, so nothing should ask for these."""

    async def owned_keys(self, subject: str, keys: Collection[str]) -> set[str]:
        raise AssertionError("the ownership of orders must not be looked up")

    async def known_streams(self, names: Collection[str]) -> set[str]:
        return set(names)


class ModelServer:
    def __init__(self, database: ModelDatabase, max_events: int) -> None:
        self.database = database
        self.hub = WatchedHub()
        self.relay = Relay(self.hub)
        self.notify_policy = self.relay._notify_policy = FixedNotifyPolicy()
        self.relay.recent_events = RecentEvents(max_events)
        self.session_manager = SessionManager(
            self.hub, self.relay, ReplayPlanner(self.relay, ModelReader(database)), TokenVerifier(None), ModelLookup()
        )
        self.connection: ModelConnection | None = None
        self._away_seconds = 0.05
        self.task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        self.lose_connection(0)
        self.task.cancel()

    async def _run(self) -> Never:
        while True:
            self.connection = ModelConnection(self.database)
            try:
                await self.relay.follow(self.connection)
            except ConnectionLost:
                await asyncio.sleep(self._away_seconds)

    def lose_connection(self, away_seconds: float) -> None:
        """Cut the connection. The server lags behind the other one until it has a new one, ``away_seconds`` later."""
        self._away_seconds = away_seconds
        if self.connection is not None and self.connection in self.database.connections:
            self.connection.cut()

    async def wait_until_started(self) -> None:
        """Return once the first read is complete: before that no client can connect."""
        await self.relay.started.wait()


class ModelClient:
    """A client that keeps what it has received across connections, and checks the order of events as they arrive.

    ``own_order``: None for an admin, who gets the events of all orders; otherwise the one order of a customer. ``streams``:
    the admin gets those of the stream too.
    """

    def __init__(
        self, *, takes_positions: bool, own_order: int | None = None, conflates: bool = False, streams: bool = False
    ) -> None:
        self.own_order = own_order
        self.streams = streams and own_order is None
        self.conflates = conflates
        self.server: ModelServer | None = None
        self.session: Session | None = None
        self.cursor: str | None = None
        self.received: dict[int, int] = {}
        # Events published by the server before the client first connected: it need not receive them.
        self.before: frozenset[int] = frozenset()
        self.totals: dict[str, Any] | None = None
        self._takes_positions = takes_positions
        self._admission: asyncio.Task[None] | None = None
        # Written by the server, but not read by the client yet.
        self._in_flight: list[bytes] = []

    @property
    def connected(self) -> bool:
        return self.session is not None

    def connect(self, server: ModelServer) -> None:
        self.server = server
        self.session = Session(
            SendQueue(QUEUE_MESSAGES, 1 << 20), FakeTransport(), conflate_above=CONFLATE_EVENTS if self.conflates else None
        )
        self._in_flight = []
        if self.cursor is None:
            self.received = {}
        self._admission = asyncio.get_running_loop().create_task(self._admit(server, self.session))

    async def _admit(self, server: ModelServer, session: Session) -> None:
        position = (lambda cursor: json.dumps({"cursor": cursor}).encode()) if self._takes_positions else None
        topics = ANONYMOUS_GRANT.default_topics() | {STREAM} if self.streams else None
        params = ConnectParams(self.cursor, topics, position)
        grant = ANONYMOUS_GRANT if self.own_order is None else Grant(Role.CUSTOMER, order_keys=frozenset({str(self.own_order)}))
        topics = await server.session_manager.authorize(grant, params)
        server.session_manager.open(session, grant, topics, params)
        if self.cursor is None:  # it has just gone live, in this tick
            watermark = server.relay.watermark.snapshot
            known = {row.id for row in server.database.journal if watermark.sees(row.txid)}
            self.before = frozenset(server.hub.published | known)
        else:
            await server.session_manager.resume(session, params)

    def take(self, about_bytes: int) -> None:
        """Read so many bytes. The client sees the end of the connection only after everything that was sent before it."""
        if self.session is None:
            return
        if not self._in_flight:
            self._in_flight = [message for batch in self.session.take(about_bytes) for message in batch.messages]
        ended = self.session.close_code is not None and not self._in_flight
        while self._in_flight and about_bytes > 0:
            message = self._in_flight.pop(0)
            about_bytes -= len(message)
            self._receive(json.loads(message))
        if ended:
            assert self.session.close_code in (CloseCode.RESUME_AGAIN, CloseCode.SLOW_CONSUMER)
            self.drop()

    def take_one_event(self) -> None:
        """Read up to the next event, and nothing after it."""
        cursor = self.cursor
        for _ in range(10):
            if self.cursor == cursor:
                self.take(1)

    def drop(self) -> None:
        """Lose the connection, and everything on it that the client has not read."""
        if self.session is None or self.server is None or self._admission is None:
            return
        self.server.hub.remove(self.session)
        if self._admission.done():
            self._admission.result()
        self._admission.cancel()
        self.session = None

    def _receive(self, message: dict[str, Any]) -> None:
        if message.get("type") == "analytics_update":
            self.totals = message
        elif message.get("type") == "subscribed":
            assert message["topics"] == ["orders"], "of a customer, without the totals"
        elif message.get("type") == "resumed":
            assert message["recovered"], "every gap of the model can be closed"
        elif message.get("type") == "bulk":
            assert self.conflates
            self._fetch_anew()
        elif message.get("type") == "position":
            self.cursor = message["id"]
        elif "cursor" in message:
            self.cursor = message["cursor"]
        else:
            self.cursor = message["id"]
            self._add(message["n"], message["row"])

    def _fetch_anew(self) -> None:
        """After a fetch the client knows the orders as this server has published them. All else has to arrive as an event."""
        assert self.server is not None
        published = self.server.hub.published
        self.received.update(
            (row.id, int(row.key)) for row in self.server.database.journal if row.id in published and row.stream is None
        )

    def promised(self, journal: Iterable[Event]) -> dict[int, int]:
        """The events that the client has to receive: id → number of the row."""
        if self.own_order is not None:
            return {row.id: int(row.key) for row in journal if row.order_key == str(self.own_order)}
        return {row.id: int(row.key) for row in journal if row.stream is None or self.streams}

    def _add(self, number: int, row: int) -> None:
        order_key = str(row) if row >= 0 else STREAM_ROWS[row]
        assert self.own_order is None or order_key == str(self.own_order), "an event of another customer"
        assert self.own_order is not None or self.streams or row >= 0, "an event of a stream without its topic"
        if number in self.received:
            return
        if number not in self.before:
            newest = max((n for n, other in self.received.items() if other == row and n not in self.before), default=0)
            assert number > newest, f"row {row}: event {number} came after event {newest}"
        self.received[number] = row


class World:
    """The whole system; each method is one step of a test."""

    server_count = 2

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.database = ModelDatabase()
        self.clients: list[ModelClient] = []
        self.servers: list[ModelServer] = []
        for number in range(self.server_count):
            self.servers.append(self.run(self._serve(number)))

    def make_server(self, number: int) -> ModelServer:
        return ModelServer(self.database, RECENT_EVENTS[number])

    async def _serve(self, number: int) -> ModelServer:
        server = self.make_server(number)
        await server.wait_until_started()
        return server

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(what)

    def run_ticks(self, count: int) -> None:
        """Run so many ticks of the event loop, which leaves most operations half done."""

        async def ticks() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.run(ticks())

    def do(self, step: Callable[[], Any]) -> None:
        """Run a step that starts tasks."""

        async def run_step() -> None:
            step()

        self.run(run_step())

    def settle(self) -> None:
        """Run long enough for a fallback read and for the log to be flushed, but not until a slow client is closed."""
        self.database.flush()
        self.run(asyncio.sleep(2.5))

    def restart(self, number: int) -> None:
        """Replace a server by a new one, which remembers nothing."""
        old = self.servers[number]
        for client in self.clients:
            if client.server is old:
                client.drop()
        old.stop()
        self.servers[number] = self.run(self._serve(number))

    def finish(self) -> None:
        """End all transactions, connect all clients; then all of them must have all events, and all totals must be right."""
        for transaction in list(self.database.open):
            self.database.commit(transaction, notify=False)
        self.wait_for_connections()
        for _ in range(60):
            self.settle()
            for client in self.clients:
                client.take(1 << 20)
                if not client.connected:
                    self.do(lambda client=client: client.connect(self.servers[0]))  # type: ignore[misc]
            if all(self._has_all(client) for client in self.clients):
                break
        self.settle()  # for the totals, which are sent at an interval
        for client in self.clients:
            client.take(1 << 20)
        totals = self.database.totals()
        for server in self.servers:
            assert server.relay.totals == server.hub.totals == totals
        for client in self.clients:
            committed = client.promised(self.database.journal)
            missing = committed.keys() - client.received.keys() - client.before
            assert not missing, f"missing: {sorted(missing)}, the client holds {sorted(client.received)}"
            assert client.received.items() <= committed.items(), "never committed"
            if client.own_order is not None:
                assert client.totals is None, "customers must not get the totals"
                continue
            assert client.totals is not None
            assert client.totals["total_orders"] == totals.orders
            assert client.totals["pending_orders"] == totals.pending

    def wait_for_connections(self) -> None:
        """Run until each server reads from a connection again."""
        for _ in range(60):
            if all(server.connection in self.database.connections for server in self.servers):
                return
            self.run(asyncio.sleep(0.5))
        raise AssertionError("a server did not connect again")

    def _has_all(self, client: ModelClient) -> bool:
        missing = client.promised(self.database.journal).keys() - client.received.keys() - client.before
        return client.connected and not missing and (client.totals is not None or client.own_order is not None)

    def close(self) -> None:
        for client in self.clients:
            client.drop()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run(asyncio.wait(tasks))
        self.loop.close()
