"""PostgreSQL crashes and forgets the numbers of transactions that rolled back: what commits under them is delivered."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg

from db.embedded import EmbeddedPostgres
from db.journal import JournalReader
from db.migrate import migrate
from push.errors import LinkLost
from push.events import Event
from push.relay import Relay
from push.totals import Totals
from tests.support import PATIENCE_SECONDS


class Kept:
    """A sink that keeps what is published."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.totals = Totals()

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        self.events += events
        self.totals = totals

    def set_totals(self, totals: Totals) -> None:
        self.totals = totals

    def gap(self) -> None:
        raise AssertionError("there was no gap")

    async def room(self) -> None:
        """Always."""


class Once(JournalReader):
    """A journal that is read until there is nothing more, and then lost."""

    async def wait(self, timeout_seconds: float) -> None:
        raise LinkLost("on purpose")


async def read_all(relay: Relay, url: str) -> None:
    connection: Any = await asyncpg.connect(url)
    reader = Once(connection)
    await reader.prepare()
    try:
        await relay.follow(reader)
    except LinkLost:
        pass
    finally:
        connection.terminate()


async def test_a_transaction_number_that_is_given_again_after_a_crash(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data", say=lambda line: None)
    try:
        await migrate(postgres.start())
        sink = Kept()
        relay = Relay(sink)
        writer = await asyncpg.connect(postgres.url)
        await writer.execute("insert into orders (customer_name, total) values ('before', 1)")
        await read_all(relay, postgres.url)

        last = 0
        for _ in range(20):
            transaction = writer.transaction()
            await transaction.start()
            await writer.execute("insert into orders (customer_name, total) values ('never', 1)")
            last = await writer.fetchval("select pg_current_xact_id()")
            await transaction.rollback()
        await read_all(relay, postgres.url)
        assert relay.watermark.sees(last)
        os.kill(postgres.pid or 0, signal.SIGKILL)
        writer.terminate()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while postgres.pid is not None and time.monotonic() < deadline:
            time.sleep(0.005)

        writer = await asyncpg.connect(postgres.start())
        for number in range(30):
            await writer.execute("insert into orders (customer_name, total) values ($1, 1)", f"after {number}")
        await read_all(relay, postgres.url)
        known = await writer.fetch("select id from orderwire.journal order by id")
        await writer.close()
        # The first one was in the totals from the start.
        assert [event.id for event in sink.events] == [row["id"] for row in known][1:]
        assert sink.totals.orders == 31
    finally:
        postgres.release()
