"""serving: what a process prints at the start, and that a failed task ends it."""

from __future__ import annotations

import asyncio
import gc
from typing import cast

import pytest

from db.database import Database
from db.errors import DatabaseError
from db.listener import Listener
from push.protocol.order_list import ShopInfo
from service import serving
from service.serving import EXPECTED_ERRORS, database_server, print_addresses
from settings import Settings
from tests.helpers.tokens import SECRET

URL = "postgresql://user:password@127.0.0.1:1/database"
ONLY_THIS_MACHINE = "only this machine may connect"
EVERYTHING_IS_VISIBLE = "every client that reaches this address sees everything (ALLOW_ANONYMOUS=1)"


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


async def test_a_failed_background_task_ends_serve_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process does not go on without it. Nothing is left running."""

    async def fail(_listener: Listener) -> None:
        raise DatabaseError("cannot be used")

    monkeypatch.setattr(Listener, "run", fail)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    monkeypatch.setattr("service.shutdown._on_signal", lambda _handler: None)
    before = asyncio.all_tasks()
    with pytest.raises(DatabaseError, match="cannot be used") as raised:
        await asyncio.wait_for(serving.serve(Settings.from_environment({"DATABASE_URL": URL, "PORT": "0"})), 60)
    assert isinstance(raised.value, EXPECTED_ERRORS)
    assert asyncio.all_tasks() == before
