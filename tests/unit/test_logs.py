"""logs: the fields of a line, in both formats."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

import logs


@contextmanager
def configured(level: str, log_format: str, worker_id: int | None = None) -> Iterator[None]:
    """Logging as the server sets it up; as before at the end. (pytest has handlers of its own during a test.)"""
    root, websocket = logging.getLogger(), logging.getLogger("aiohttp.websocket")
    before = root.handlers, root.level, websocket.level
    root.handlers = []
    logs.configure(level, log_format, worker_id)
    try:
        yield
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])
        websocket.setLevel(before[2])


def test_a_json_line_has_its_standard_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("DEBUG", "json", worker_id=2):
        with logs.bind_connection("a-1"):
            logging.getLogger("orderwire.session").debug("session closed", extra={"close_code": 3001})
        logging.getLogger("orderwire.hub").info("Zoë: %s", "{}")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert datetime.fromisoformat(first.pop("timestamp")).tzinfo is not None
    assert first == {
        "level": "DEBUG",
        "logger": "orderwire.session",
        "message": "session closed",
        "connection_id": "a-1",
        "close_code": 3001,
        "worker_id": 2,
    }
    assert second.pop("timestamp").endswith("Z")
    assert second == {"level": "INFO", "logger": "orderwire.hub", "message": "Zoë: {}", "worker_id": 2}


def test_asyncio_says_nothing_of_the_end_of_a_tls_connection_to_nats(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("INFO", "text"):
        logging.getLogger("asyncio").warning("returning true from eof_received() has no effect when using ssl")
        logging.getLogger("asyncio").warning("something else")
    assert capsys.readouterr().err.splitlines()[0].endswith("WARNING something else")


def test_a_text_line_ends_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("INFO", "text", worker_id=2), logs.bind_connection("a-1"):
        logging.getLogger("orderwire.session").warning("slow")
        logging.getLogger("orderwire.session").debug("below the level")
    line = capsys.readouterr().err.rstrip("\n")
    assert line[8:] == " WARNING slow  [connection_id=a-1 worker_id=2]"


def test_without_fields_and_workers_a_text_line_is_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("INFO", "text"):
        logging.getLogger("orderwire.hub").info("message")
    assert capsys.readouterr().err[8:] == " INFO message\n"


def test_a_json_line_holds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("INFO", "json"):
        logging.getLogger("orderwire.hub").error("failed", exc_info=ValueError("a bug"))
    assert json.loads(capsys.readouterr().err)["exception"].endswith("ValueError: a bug")


FORGED = "anna\n12:00:00 ERROR forged\r\x1b[2J\x9b1m\x00\x7f\u2028\u202e\ud800\N{ZERO WIDTH SPACE}"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_has_control_characters(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    """Texts of clients may be in messages, in fields, in names of fields and in errors."""

    def fail() -> None:
        raise ValueError(FORGED)

    with configured("DEBUG", log_format), logs.bind_connection(FORGED):
        log = logging.getLogger("orderwire.session")
        log.debug("session opened: %s", FORGED, extra={"subject": FORGED, "orders": [FORGED], FORGED: 1})
        try:
            fail()
        except ValueError:
            log.exception("failed")
    printed = capsys.readouterr().err
    assert all(character.isprintable() for line in printed.split("\n") for character in line)
    lines = printed.removesuffix("\n").split("\n")
    assert not [line for line in lines if line.startswith("12:00:00 ERROR forged")]
    if log_format == "json":
        first, second = map(json.loads, lines)
        assert (first["subject"], first["message"]) == (FORGED, f"session opened: {FORGED}")
        assert second["exception"].endswith(f"ValueError: {FORGED}")
    else:
        assert r"anna\n12:00:00 ERROR forged\r\x1b[2J\x9b1m\x00\x7f\u2028\u202e\ud800\u200b" in lines[0]
        # What is not the first line of its record is indented.
        assert all(line.startswith("    ") for line in lines[2:])


def test_printable_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("INFO", "text"):
        logging.getLogger("orderwire.hub").info(r"Zoë Иван 日本 \n %s", "🍕")
    assert capsys.readouterr().err[8:] == r" INFO Zoë Иван 日本 \n 🍕" + "\n"


async def test_tasks_created_in_the_block_are_about_its_connection() -> None:
    async def bound() -> str:
        await asyncio.sleep(0)
        return logs.connection_id.get()

    with logs.bind_connection("a-1"):
        inside: Any = asyncio.create_task(bound())
    assert await inside == "a-1"
    assert await asyncio.create_task(bound()) == ""


def test_aiohttp_does_not_log_subprotocols() -> None:
    """Its warning of an unknown subprotocol names it, and it may be a token."""
    with configured("DEBUG", "text"):
        assert not logging.getLogger("aiohttp.websocket").isEnabledFor(logging.WARNING)


def test_a_failure_is_logged_once_for_each_cause_and_again_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    failures = logs.FailureLog(logging.getLogger("orderwire.test"), clock=lambda: now)
    with caplog.at_level(logging.INFO, "orderwire.test"):
        for second in range(1201):
            now = float(second)
            failures.report(f"refused by process {second}" if second % 2 else "no such database")
        assert caplog.messages == [
            "no such database",
            "refused by process 1",
            "no such database (300 times more in the last 10 minutes)",
            "refused by process 601 (300 times more in the last 10 minutes)",
            "no such database (300 times more in the last 10 minutes)",
        ]
        caplog.clear()
        failures.recovered("it works again")
        failures.recovered("it works again")
        failures.report("no such database")
        failures.recovered()
        assert caplog.messages == ["it works again", "no such database"]


def test_the_number_of_causes_is_bounded() -> None:
    failures = logs.FailureLog(logging.getLogger("orderwire.test.bounded"))
    for number in range(1000):
        failures.report("x" * number)
    assert len(failures._causes) <= logs.MAX_CAUSES
