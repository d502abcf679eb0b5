"""The pure parts of the Python client: when it comes back, what it drops, how it reads messages, where it keeps its place."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orderwire import Client, FileCursor, OrderEvent, StreamEvent, Totals, is_newer
from orderwire.messages import OrderEventType, StreamEventType, parse_message
from orderwire.policy import MAX_IDS, ReceivedEvents, backoff_delay, is_terminal, token_refresh_delay
from push.protocol.messages import CloseCode
from push.protocol.schema import EVENTS, SCHEMAS
from tests.helpers.schemas import MESSAGES
from tests.support import ROOT


def test_delays_double_up_to_the_maximum_with_full_jitter() -> None:
    assert [backoff_delay(n, 3, 30, 1) for n in (1, 2, 3, 4, 5, 6, 10_000)] == [3, 6, 12, 24, 30, 30, 30]
    assert backoff_delay(3, 3, 30, 0) == 0
    assert backoff_delay(3, 3, 30, 0.5) == 6


def test_the_same_codes_are_terminal_as_in_the_browser_client() -> None:
    source = (ROOT / "web/client/src/connection-manager.ts").read_text(encoding="utf-8")
    (statuses,) = re.findall(r"\[([\d, ]+)\]\.includes\(code\)", source)
    for status in map(int, statuses.split(",")):
        assert is_terminal(status)
    for code in CloseCode:
        assert is_terminal(code) == (3500 <= code < 4000)
    assert not any(map(is_terminal, (404, 426, 429, 500, 502, 503, 1006, 4000, 4499)))


@pytest.mark.parametrize(("left", "delay"), [(3600, 3540), (120, 60), (60, 30), (12, 10), (1, 10), (0, None), (-5, None)])
def test_a_token_is_asked_for_a_minute_before_or_half_way(left: float, delay: float | None) -> None:
    assert token_refresh_delay(left) == delay


def test_duplicates_are_dropped_and_move_the_cursor() -> None:
    received = ReceivedEvents("a-1")
    assert received.add("a-2")
    assert not received.add("a-1")
    assert received.cursor == "a-1"
    for number in range(MAX_IDS + 10):
        assert received.add(f"b-{number}")
    assert received.add("a-2"), "the oldest ids are forgotten"


def example(type_: str) -> dict[str, Any]:
    return dict(SCHEMAS[MESSAGES[type_]]["examples"][0])


def test_events_are_typed() -> None:
    message = {**example("order_status_update"), "actor": {"role": "shop", "application_name": "a"}, "new_field": 1}
    event = parse_message(json.dumps(message))
    assert isinstance(event, OrderEvent)
    assert (event.total, event.status, event.previous_status) == (Decimal("150.50"), "preparing", "pending")
    assert event.at == datetime(2024, 5, 1, 12, 0, 1, tzinfo=UTC)
    assert event.actor is not None
    assert event.actor.role == "shop"
    assert (event.customer_name, "customer_name" in event.raw, event.raw["new_field"]) == (None, False, 1)


@pytest.mark.parametrize("type_", [*OrderEventType.__args__, *StreamEventType.__args__])  # type: ignore[attr-defined]
def test_every_event_is_known(type_: str) -> None:
    event = parse_message(json.dumps(example(type_)))
    assert isinstance(event, OrderEvent | StreamEvent)
    assert event.type == type_


def test_every_event_of_the_server_is_known() -> None:
    assert {*OrderEventType.__args__, *StreamEventType.__args__} == set(EVENTS)  # type: ignore[attr-defined]


def test_a_field_of_every_event_is_a_field_of_the_class() -> None:
    for name in EVENTS.values():
        kind = StreamEvent if name.startswith("Row") else OrderEvent
        assert set(SCHEMAS[name]["properties"]) <= set(kind.__dataclass_fields__)


def test_totals_are_typed() -> None:
    assert parse_message(json.dumps(example("analytics_update"))) == Totals(1, Decimal("150.50"), 1)


@pytest.mark.parametrize("text", ["", "1", "null", "[]", "{}", '{"type":"new"}', '{"type":"new_order"}', '{"type":1}', "{"])
def test_what_is_no_known_message_is_ignored(text: str) -> None:
    assert parse_message(text) is None


def test_events_of_one_order_are_compared_by_their_number() -> None:
    assert is_newer("e-1-0-5", None)
    assert is_newer("e-1-0-10", "e-9-0-9")
    assert not is_newer("e-9-0-9", "e-1-0-10")
    assert is_newer("f-1-0-1", "e-1-0-10")


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("https://shop.example", "https://shop.example/api/ws"),
        ("http://shop.example/push/", "http://shop.example/push/api/ws"),
        ("wss://shop.example/api/ws", "wss://shop.example/api/ws"),
    ],
)
async def test_the_address_is_that_of_the_server_or_of_its_websocket(address: str, endpoint: str) -> None:
    assert str(Client(address)._url) == endpoint


async def test_an_address_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"https://shop\.example"):
        Client("shop.example")


async def test_a_file_keeps_the_cursor(tmp_path: Path) -> None:
    cursor = FileCursor(tmp_path / "cursor")
    assert await cursor.load() is None
    await cursor.save("a-1")
    await cursor.save("a-2")
    assert await FileCursor(tmp_path / "cursor").load() == "a-2"
    assert [path.name for path in tmp_path.iterdir()] == ["cursor"]
