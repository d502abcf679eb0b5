"""application: how the application fails to start, and how failed background tasks are reported. The rest: tests/gateway."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from db.errors import DatabaseError, DatabaseTimeout, DatabaseUnavailable, UnreadableData
from gateway.app_keys import HUB
from logs import FailureLog
from service.application import _log_failure, create_app
from service.database_state import reported
from settings import BadSetting, Settings

URL = "postgresql://user:password@127.0.0.1:1/database"


def test_errors_of_background_queries_are_logged_unless_there_is_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog(logging.getLogger("orderwire"))
    for error in (DatabaseUnavailable("lost"), DatabaseTimeout("late"), UnreadableData("damaged"), DatabaseError("other")):
        with reported(failures, "it fails"):
            raise error
    assert caplog.messages == ["it fails: late", "it fails: damaged", "it fails: other"]


def test_an_application_needs_the_address_of_a_database() -> None:
    with pytest.raises(BadSetting, match="DATABASE_URL is not set"):
        create_app(Settings.from_environment({}))


def test_bad_keys_are_found_when_the_application_is_made() -> None:
    with pytest.raises(BadSetting, match="JWT_PUBLIC_KEY"):
        create_app(Settings.from_environment({"DATABASE_URL": URL, "JWT_PUBLIC_KEY": "/no/such/file"}))


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
    with caplog.at_level(logging.CRITICAL, "orderwire.service"):
        _log_failure("listener", ValueError("a bug"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("CRITICAL", "background task 'listener' has failed: events may not arrive any more")
    ]
