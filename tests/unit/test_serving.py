"""serving: how the tasks of a process run, fail and end, and what it prints at the start. The application: tests/gateway."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any, cast

import pytest

import serving
from db.database import Database
from db.errors import DatabaseError, DatabaseTimeout, DatabaseUnavailable, UnreadableData
from db.listener import Listener
from gateway.app_keys import HUB
from logs import FailureLog
from push.protocol.order_list import ShopInfo
from serving import EXPECTED_ERRORS, create_app, database_server, print_addresses, run_until
from settings import BadSetting, Settings
from tests.helpers.tokens import SECRET

URL = "postgresql://user:password@127.0.0.1:1/database"
ONLY_THIS_MACHINE = "only this machine may connect"
EVERYTHING_IS_VISIBLE = "every client that reaches this address sees everything (ALLOW_ANONYMOUS=1)"


def test_errors_of_background_queries_are_logged_unless_there_is_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog(logging.getLogger("orderwire"))
    for error in (DatabaseUnavailable("lost"), DatabaseTimeout("late"), UnreadableData("damaged"), DatabaseError("other")):
        with serving._reported(failures, "it fails"):
            raise error
    assert caplog.messages == ["it fails: late", "it fails: damaged", "it fails: other"]


async def test_run_until_drains_before_it_cancels() -> None:
    stop, log = asyncio.Event(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cancelled")

    async def drain() -> None:
        await asyncio.sleep(0)
        log.append("drained")

    running = asyncio.create_task(run_until(stop, {"work": work()}, drain))
    await asyncio.sleep(0.01)
    assert log == []
    stop.set()
    await asyncio.wait_for(running, 10)
    assert log == ["drained", "cancelled"]


async def test_a_task_that_fails_ends_the_others_and_is_raised_after_the_drain() -> None:
    log = []

    async def fail() -> None:
        raise ValueError("a bug")

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cancelled")

    async def drain() -> None:
        log.append("drained")

    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(run_until(asyncio.Event(), {"work": work(), "fail": fail()}, drain), 10)
    assert log == ["drained", "cancelled"]


async def test_a_task_that_returns_ends_nothing() -> None:
    stop = asyncio.Event()

    async def nothing() -> None:
        pass

    running = asyncio.create_task(run_until(stop, {"nothing": nothing()}))
    await asyncio.sleep(0.01)
    assert not running.done()
    stop.set()
    await asyncio.wait_for(running, 10)


def test_a_database_url_is_used_as_it_is() -> None:
    with database_server(Settings.from_environment({"DATABASE_URL": URL})) as (url, embedded):
        assert (url, embedded) == (URL, None)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["http://h:1/admin", "ws://h:1/api/ws", '"$DATABASE_URL"', ONLY_THIS_MACHINE]),
        ({"ALLOW_ANONYMOUS": "1"}, ["http://h:1/admin", "ws://h:1/api/ws", "", EVERYTHING_IS_VISIBLE]),
        (
            {"JWT_SECRET": SECRET},
            ["http://h:1/admin", "ws://h:1/api/ws", "", "by token; make one with: make token ROLE=admin (or"],
        ),
        ({"BASE_PATH": "shop"}, ["http://h:1/shop/admin", "ws://h:1/shop/api/ws", '"$DATABASE_URL"', ONLY_THIS_MACHINE]),
        ({"TLS_CERT_FILE": "c", "TLS_KEY_FILE": "k"}, ["https://h:1/admin", "wss://h:1/api/ws", "", ONLY_THIS_MACHINE]),
    ],
)
@pytest.mark.parametrize("superuser", [True, False, None])
@pytest.mark.parametrize("table", ["public.orders", None])
async def test_the_addresses_are_printed_once_events_flow_and_without_a_password(
    environment: dict[str, str],
    expected: list[str],
    superuser: bool | None,
    table: str | None,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    class FakeDatabase:
        async def is_superuser(self) -> bool:
            if superuser is None:
                raise DatabaseError("gone")
            return superuser

        async def shop_info(self) -> ShopInfo:
            return ShopInfo.from_map({}, table, [])

    started = asyncio.Event()
    settings = Settings.from_environment(environment)
    database = cast(Database, FakeDatabase())
    running = asyncio.create_task(print_addresses(started, settings, "h:1", database, URL, None))
    await asyncio.sleep(0)
    assert capsys.readouterr().out == ""
    started.set()
    await running
    lines = capsys.readouterr().out.splitlines()
    if table is None:
        assert lines.pop(-2) == (
            "no table of orders is attached: python server.py attach lists candidates, attach --create makes a starter table"
        )
    assert [line.split()[0] for line in lines] == ["dashboard", "websocket", "psql", "login", "ready;"]
    for line, part in zip(lines, expected, strict=False):
        assert part in line
    assert "password" not in "\n".join(lines)
    assert [record.getMessage()[:28] for record in caplog.records] == ["the server is a superuser in"] * (superuser is True)


def test_an_application_needs_the_address_of_a_database() -> None:
    with pytest.raises(BadSetting, match="DATABASE_URL is not set"):
        create_app(Settings.from_environment({}))


def test_bad_keys_are_found_when_the_application_is_made() -> None:
    with pytest.raises(BadSetting, match="JWT_PUBLIC_KEY"):
        create_app(Settings.from_environment({"DATABASE_URL": URL, "JWT_PUBLIC_KEY": "/no/such/file"}))


async def test_a_failed_background_task_ends_serve_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process does not go on without it. Nothing is left running."""

    async def fail(_listener: Listener) -> None:
        raise DatabaseError("cannot be used")

    monkeypatch.setattr(Listener, "run", fail)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    monkeypatch.setattr(serving, "_on_signal", lambda _handler: None)
    before = asyncio.all_tasks()
    with pytest.raises(DatabaseError, match="cannot be used") as raised:
        await asyncio.wait_for(serving.serve(Settings.from_environment({"DATABASE_URL": URL, "PORT": "0"})), 60)
    assert isinstance(raised.value, EXPECTED_ERRORS)
    assert asyncio.all_tasks() == before


async def test_an_application_that_fails_to_start_leaves_nothing_behind(aiohttp_server: Any) -> None:
    app = create_app(Settings.from_environment({"DATABASE_URL": URL}))
    before = asyncio.all_tasks()

    async def fail(_app: object) -> None:
        raise RuntimeError("another part of the program cannot start")

    app.on_startup.append(fail)
    with pytest.raises(RuntimeError, match="another part"):
        await aiohttp_server(app)
    await app.cleanup()
    assert asyncio.all_tasks() == before
    assert len(app[HUB]) == 0


async def test_the_default_for_a_failure_is_a_critical_log_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, "orderwire.serving"):
        serving._log_failure("listener", ValueError("a bug"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("CRITICAL", "background task 'listener' has failed: events may not arrive any more")
    ]
