"""The arithmetic of `make bench-attach`, and one small run of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from bench.attach import (
    FILL_SQL,
    AttachFailed,
    Found,
    Span,
    attach,
    count_failures,
    describe_run,
    open_transaction,
    parse_log,
    seconds_until_event,
)
from bench.tables import SHOP, SHOP_MAP, create_shop
from db.migrate import migrate

RUN = Found(
    attach=Span(10.0, 14.0),
    attempts=2,
    last_attempt=Span(13.5, 14.0),
    writers=[Span(9.0, 9.9), Span(9.8, 10.5), Span(11.0, 12.1), Span(13.9, 14.1), Span(14.2, 14.3)],
    readers=[Span(9.0, 9.1)],
    failures=0,
    first_event=0.012,
    count=1.5,
    from_checkpoint=0.02,
    ready=0.7,
    other_cpus=0.1,
)


def test_log_of_pgbench_becomes_spans() -> None:
    [span] = parse_log("3 199 2241000 0 1175850568 995598\n")
    assert span.end == pytest.approx(1175850568.995598)
    assert span.seconds == pytest.approx(2.241)


def test_transaction_that_overlaps_with_the_attaching_is_during_it() -> None:
    assert [span.phase(RUN.attach) for span in RUN.writers] == ["before", "during", "during", "during", "after"]


def test_failed_transactions_and_aborted_clients_are_failures() -> None:
    assert count_failures("number of failed transactions: 0 (0.000%)", "") == 0
    assert (
        count_failures("number of failed transactions: 3 (0.100%)", "pgbench: error: client 5 script 0 aborted in command 1")
        == 4
    )


def test_run_shows_the_longest_wait_of_each_phase_and_whether_the_target_is_met() -> None:
    lines = describe_run("a run", RUN).splitlines()
    writer = next(line for line in lines if "a writer" in line)
    assert writer.split()[2:] == ["900", "(1)", "1,100", "(3)", "100", "(1)"]
    assert lines[-1].endswith("1.10 s, met")
    assert describe_run("", replace(RUN, failures=1)).endswith("NOT MET")
    assert describe_run("", replace(RUN, readers=[Span(11.0, 12.3)])).endswith("1.30 s, NOT MET")


async def test_attach_is_tried_again_while_a_transaction_holds_the_table(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.attach.RETRY_SECONDS", 0.01)
    await migrate(empty_database_url)
    await create_shop(empty_database_url)
    db = await asyncpg.connect(empty_database_url)
    try:
        await db.execute(FILL_SQL, 10)
        async with open_transaction(empty_database_url, seconds=1.5):
            whole, attempts, last = await attach(db, SHOP_MAP)
        assert attempts >= 2
        assert whole.start < last.start < last.end == whole.end
        # The rows that were there before, and the one of the transaction that was open.
        assert await db.fetchval("select total_orders from orderwire.scan_totals()") == 11
        assert await db.fetchval("select count(*) from orderwire.journal") == 0
        await db.execute(SHOP.insert)
    finally:
        await db.close()


async def test_run_without_an_event_fails_instead_of_waiting_for_ever(database_url: str) -> None:
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ended.set_result(None)
    db = await asyncpg.connect(database_url)
    try:
        with pytest.raises(AttachFailed, match="no event"):
            await seconds_until_event(db, 0.0, ended)
    finally:
        await db.close()
