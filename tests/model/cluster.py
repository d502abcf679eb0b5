"""Servers that are fed by facts, on the model of the database and a broker that misbehaves."""

from __future__ import annotations

import asyncio
import random
from typing import Never

from push.errors import ConnectionLost, StoreError
from push.journal.events import Page, Position, Snapshot
from push.journal.fact_journal import FactJournalConnection
from push.journal.fact_publisher import FactPublisher
from push.journal.queries import FactReads
from push.metrics import Metrics
from tests.model.broker import ModelBroker, ModelBus
from tests.model.database import ModelConnection, ModelDatabase, ModelReader, visible
from tests.model.world import RECENT_EVENTS, ModelServer, World

__all__ = ["ClusterServer", "ClusterWorld", "ModelPool"]


class ModelPool(ModelReader, FactReads):
    """The pool of a server. ``is_down``: it cannot reach the database."""

    @property
    def connections_opened(self) -> int:
        return self.database.crashes

    def __init__(self, database: ModelDatabase) -> None:
        super().__init__(database)
        self.is_down = False
        # How many pages have been read.
        self.pages = 0

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        self.pages += 1
        return await super().page(after, upto, past_id, max_events, max_bytes)

    async def round_trip(self) -> None:
        await super().round_trip()
        if self.is_down:
            raise StoreError("the database cannot be reached")


class ClusterServer(ModelServer):
    """A relay or an edge, and the other one whenever the test says so."""

    def __init__(self, database: ModelDatabase, broker: ModelBroker, number: int, *, is_relay: bool) -> None:
        self.bus = ModelBus(broker)
        self.pool = ModelPool(database)
        self.metrics = Metrics()
        self.is_relay = is_relay
        self._number = number
        self._following: asyncio.Task[None] | None = None
        super().__init__(database, RECENT_EVENTS[number % 2])

    async def _run(self) -> Never:
        node = f"node {self._number}"
        self.states: list[str] = []
        self.facts = FactJournalConnection(self.bus, self.pool, self.metrics, node=node, on_state=self.states.append)
        self.publisher = FactPublisher(self.bus, self.relay, node)
        sending = asyncio.create_task(self.publisher.run())
        try:
            while True:
                self._following = asyncio.create_task(self._act())
                await asyncio.wait([self._following])
                if not self._following.cancelled():
                    self._following.result()
        finally:
            sending.cancel()
            if self._following is not None:
                self._following.cancel()

    async def _act(self) -> None:
        """Follow as relay or edge, until the connection is lost."""
        try:
            if self.is_relay:
                self.connection = ModelConnection(self.database)
                self.bus.serves = True
                await self.publisher.follow(self.connection)
            else:
                await self.relay.follow(self.facts)
        except ConnectionLost:
            await asyncio.sleep(self._away_seconds)
        finally:
            self.bus.serves = False
            if self.connection in self.database.connections:
                self.connection.cut()

    def gaps(self, healed_by: str) -> float:
        """How many gaps this server has closed so."""
        return self.metrics.registry.get_sample_value("orderwire_fact_gaps_total", {"healed_by": healed_by}) or 0.0

    def set_role(self, *, is_relay: bool) -> None:
        self._away_seconds = 0.05
        if is_relay != self.is_relay:
            self.is_relay = is_relay
            if self._following is not None:
                self._following.cancel()

    async def wait_until_started(self) -> None:
        await super().wait_until_started()
        # What this sees was published, or is in the totals of the start.
        self.first_watermark = self.relay.watermark.snapshot

    def stop(self) -> None:
        super().stop()
        self.bus.close()


class ClusterWorld(World):
    """Three servers: the first two may be the relay. At the end of a run the broker and the network are well again."""

    server_count = 3

    def __init__(self, choose: random.Random) -> None:
        self.broker = ModelBroker(choose)
        super().__init__()

    def make_server(self, number: int) -> ClusterServer:
        has_relay = any(isinstance(server, ClusterServer) and server.is_relay for server in self.servers)
        return ClusterServer(self.database, self.broker, number, is_relay=number == 0 and not has_relay)

    @property
    def cluster(self) -> list[ClusterServer]:
        return [server for server in self.servers if isinstance(server, ClusterServer)]

    def heal(self) -> None:
        """Let everything work, with one relay at least."""
        broker = self.broker
        broker.loss = broker.doubling = broker.delay = broker.forgetting = 0.0
        broker.is_down = False
        for server in self.cluster:
            server.bus.is_cut = server.pool.is_down = False
        if not any(server.is_relay for server in self.cluster):
            self.do(lambda: self.cluster[0].set_role(is_relay=True))

    def finish(self) -> None:
        """Also check that each server has published every event since its start, whether it has clients or not."""
        super().finish()
        for server in self.cluster:
            later = {row.id for row in self.database.journal if not visible(row.txid, server.first_watermark)}
            assert later <= server.hub.published, f"not published: {sorted(later - server.hub.published)}"

    def wait_for_connections(self) -> None:
        self.heal()
        for _ in range(60):
            if all(server.relay.caught_up for server in self.cluster):
                return
            self.run(asyncio.sleep(0.5))
        raise AssertionError("a server did not catch up: " + ", ".join(str(s.relay.not_ready_reason) for s in self.cluster))
