"""Two servers, their clients and a model of the database, on one event loop whose clock runs only when nothing else can."""

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
from push.protocol.access import ANONYMOUS_GRANT, Grant, Role
from push.protocol.messages import CloseCode
from tests.model.database import ModelDatabase, ModelLink, ModelReader
from tests.unit.carried import Carried

# The one resumes from its ring most of the time, the other from the journal.
RING_EVENTS = (16, 6)
QUEUE_FRAMES = 8
CONFLATE_EVENTS = 2


class _Clock(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for ever"
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


class WatchedHub(Hub):
    """Remembers what was published, and sees to it that nothing is published twice and that the totals are their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.published: set[int] = set()
        self._base: Totals | None = None

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        assert self.published.isdisjoint(event.id for event in events), "published twice"
        assert self.totals.plus(events) == totals
        self.published.update(event.id for event in events)
        super().publish(events, totals)

    def announce_gap(self) -> None:
        raise AssertionError("there was no gap")


class Whim(NotifyPolicy):
    """A pace that is told, not measured."""

    def __init__(self) -> None:
        super().__init__(NotifyMode.AUTO)
        self.by_clock = False

    def should_poll(self, now: float) -> bool:
        return self.by_clock


class NoOwners:
    """Nobody here is a customer."""

    async def owned_by(self, subject: str, ids: Collection[int]) -> set[int]:
        raise AssertionError("an admin's rights depend on nobody")


class ModelServer:
    def __init__(self, database: ModelDatabase, ring_events: int) -> None:
        self.database = database
        self.hub = WatchedHub()
        self.relay = Relay(self.hub)
        self.whim = self.relay._notify_policy = Whim()
        self.relay.recent_events = RecentEvents(ring_events)
        self.entrance = SessionManager(
            self.hub, self.relay, ReplayPlanner(self.relay, ModelReader(database)), TokenVerifier(None), NoOwners()
        )
        self.link: ModelLink | None = None
        self._away_seconds = 0.05
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> Never:
        while True:
            self.link = ModelLink(self.database)
            try:
                await self.relay.follow(self.link)
            except ConnectionLost:
                await asyncio.sleep(self._away_seconds)

    def lose_link(self, away_seconds: float) -> None:
        """Meanwhile this server lags behind the other."""
        self._away_seconds = away_seconds
        if self.link is not None and self.link in self.database.links:
            self.link.cut()

    async def baseline_taken(self) -> None:
        """What the totals include at the start counts as published: it was before anybody could connect."""
        await self.relay.started.wait()


class ModelClient:
    """Keeps what it receives, across connections; checks order and comfort as it goes.

    ``follows``: None for an admin, who gets everything; else the one order that this customer follows.
    """

    def __init__(self, *, keeps_positions: bool, follows: int | None = None, conflates: bool = False) -> None:
        self.follows = follows
        self.conflates = conflates
        self.server: ModelServer | None = None
        self.session: Session | None = None
        self.cursor: str | None = None
        self.received: dict[int, int] = {}
        # Published by its server before the client first came: not promised.
        self.before: frozenset[int] = frozenset()
        self.totals: dict[str, Any] | None = None
        self._keeps_positions = keeps_positions
        self._admission: asyncio.Task[None] | None = None
        self._on_this_connection: set[int] = set()
        # Written by the server, not read yet.
        self._on_the_way: list[bytes] = []

    @property
    def connected(self) -> bool:
        return self.session is not None

    def connect(self, server: ModelServer) -> None:
        self.server = server
        self.session = Session(
            SendQueue(QUEUE_FRAMES, 1 << 20), Carried(), conflate_above=CONFLATE_EVENTS if self.conflates else None
        )
        self._on_this_connection = set()
        self._on_the_way = []
        if self.cursor is None:
            self.received = {}
        self._admission = asyncio.get_running_loop().create_task(self._admit(server, self.session))

    async def _admit(self, server: ModelServer, session: Session) -> None:
        position = (lambda cursor: json.dumps({"cursor": cursor}).encode()) if self._keeps_positions else None
        wish = ConnectParams(self.cursor, None, position)
        grant = ANONYMOUS_GRANT if self.follows is None else Grant(Role.CUSTOMER, order_ids=frozenset({self.follows}))
        topics = await server.entrance.authorize(grant, wish)
        server.entrance.open(session, grant, topics, wish)
        if self.cursor is None:  # it has just gone live, in this very turn
            watermark = server.relay.watermark.snapshot
            known = {row.id for row in server.database.journal if watermark.sees(row.txid)}
            self.before = frozenset(server.hub.published | known)
        else:
            await server.entrance.resume(session, wish)

    def take(self, about_bytes: int) -> None:
        """The client reads so much; and comes to know of the end when it has read everything before it."""
        if self.session is None:
            return
        if not self._on_the_way:
            self._on_the_way = [frame for batch in self.session.take(about_bytes) for frame in batch.messages]
        ended = self.session.close_code is not None and not self._on_the_way
        while self._on_the_way and about_bytes > 0:
            frame = self._on_the_way.pop(0)
            about_bytes -= len(frame)
            self._receive(json.loads(frame))
        if ended:
            assert self.session.close_code in (CloseCode.RESUME_AGAIN, CloseCode.SLOW_CONSUMER)
            self.drop()

    def take_one_event(self) -> None:
        """The client reads up to the next event, and nothing after it."""
        cursor = self.cursor
        for _ in range(10):
            if self.cursor == cursor:
                self.take(1)

    def drop(self) -> None:
        """The connection is gone, and with it all that the client had not read."""
        if self.session is None or self.server is None or self._admission is None:
            return
        self.server.hub.remove(self.session)
        if self._admission.done():
            self._admission.result()
        self._admission.cancel()
        self.session = None

    def _receive(self, frame: dict[str, Any]) -> None:
        if frame.get("type") == "analytics_update":
            self.totals = frame
        elif frame.get("type") == "subscribed":
            assert frame["topics"] == [f"order:{self.follows}"]
        elif frame.get("type") == "resumed":
            assert frame["recovered"], "there is nothing that could not be recovered"
        elif frame.get("type") == "bulk":
            assert self.conflates
            self._fetch_anew()
        elif frame.get("type") == "position":
            self.cursor = frame["id"]
        elif "cursor" in frame:
            self.cursor = frame["cursor"]
        else:
            self.cursor = frame["id"]
            self._keep(frame["n"], frame["order_id"])

    def _fetch_anew(self) -> None:
        """It knows of everything that this server has published, and of nothing else: that has to come."""
        assert self.server is not None
        published = self.server.hub.published
        self.received.update((row.id, row.order_id) for row in self.server.database.journal if row.id in published)

    def promised(self, journal: Iterable[Event]) -> dict[int, int]:
        """Of all events those that it has to get, with their orders."""
        return {row.id: row.order_id for row in journal if self.follows in (None, row.order_id)}

    def _keep(self, number: int, order_id: int) -> None:
        assert self.follows in (None, order_id), "somebody else's"
        if number in self.received:
            return
        if number not in self.before:
            newest = max((n for n, order in self.received.items() if order == order_id and n not in self.before), default=0)
            assert number > newest, f"order {order_id}: event {number} came after event {newest}"
        self.received[number] = order_id


class World:
    """Everything together; each method is one step of a test."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.database = ModelDatabase()
        self.clients: list[ModelClient] = []
        self.servers: list[ModelServer] = []
        for number in range(2):
            self.servers.append(self.run(self._serve(number)))

    async def _serve(self, number: int) -> ModelServer:
        server = ModelServer(self.database, RING_EVENTS[number])
        await server.baseline_taken()
        return server

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(what)

    def turns(self, count: int) -> None:
        """So many turns of the event loop: most things stay half done."""

        async def pass_by() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.run(pass_by())

    def do(self, step: Callable[[], Any]) -> None:
        """A step that starts tasks."""

        async def inside() -> None:
            step()

        self.run(inside())

    def settle(self) -> None:
        """Long enough for a fallback read and the log writer's round, not for a slow client to be given up."""
        self.database.flush()
        self.run(asyncio.sleep(2.5))

    def restart(self, number: int) -> None:
        """Another server in its place: it remembers nothing."""
        old = self.servers[number]
        for client in self.clients:
            if client.server is old:
                client.drop()
        old.lose_link(0)
        old.task.cancel()
        self.servers[number] = self.run(self._serve(number))

    def finish(self) -> None:
        """Everybody ends what they began; then all clients must have all events, and all totals must be right."""
        for transaction in list(self.database.open):
            self.database.commit(transaction, ring=False)
        self.run(asyncio.sleep(25.0))  # links come back
        for _ in range(60):
            self.settle()
            for client in self.clients:
                client.take(1 << 20)
                if not client.connected:
                    self.do(lambda client=client: client.connect(self.servers[0]))  # type: ignore[misc]
            if all(self._has_all(client) for client in self.clients):
                break
        self.settle()  # for the totals, which may wait for their turn
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
            if client.follows is not None:
                assert client.totals is None, "not for customers"
                continue
            assert client.totals is not None
            assert client.totals["total_orders"] == totals.orders
            assert client.totals["pending_orders"] == totals.pending

    def _has_all(self, client: ModelClient) -> bool:
        missing = client.promised(self.database.journal).keys() - client.received.keys() - client.before
        return client.connected and not missing and (client.totals is not None or client.follows is not None)

    def close(self) -> None:
        for client in self.clients:
            client.drop()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run(asyncio.wait(tasks))
        self.loop.close()
