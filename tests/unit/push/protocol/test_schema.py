"""push.protocol.schema: every message has a schema, and what the server encodes is what it says."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import get_args

import pytest

from push.journal.totals import Totals
from push.protocol.commands import parse_message
from push.protocol.messages import (
    AnalyticsUpdate,
    Authenticated,
    Bulk,
    Command,
    ErrorMessage,
    FeedStatus,
    Ping,
    Pong,
    PositionMessage,
    Resumed,
    ServerMessage,
    Subscribed,
    encode,
)
from push.protocol.schema import CLIENT_MESSAGES, EVENTS, SCHEMAS, SERVER_MESSAGES
from tests.helpers.schemas import assert_described

MESSAGES: list[ServerMessage] = [
    AnalyticsUpdate(Totals(), "PLN"),
    AnalyticsUpdate(Totals(1, Decimal(0), 1, {"EUR": Decimal("12.50")}), "EUR"),
    Ping(),
    Pong(),
    ErrorMessage("bad_json", "the message is not JSON"),
    Resumed(True, 7),
    Resumed(False),
    Subscribed({"orders", "order:5"}),
    Authenticated("admin", 1e9),
    Authenticated("admin", float("inf")),
    Bulk(5),
    FeedStatus(False, 1e9, "the database cannot be reached"),
    FeedStatus(True, 1e9),
    PositionMessage("5f0c12ab-1-2-3"),
]


def test_every_message_of_the_server_has_a_schema() -> None:
    assert set(SERVER_MESSAGES) == set(get_args(ServerMessage)) == {type(message) for message in MESSAGES}


def test_every_message_of_a_client_has_a_schema() -> None:
    assert set(CLIENT_MESSAGES) == {*get_args(Command), Ping, Pong}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_a_message_is_what_its_schema_says(message: ServerMessage) -> None:
    assert_described(json.loads(encode(message)), SERVER_MESSAGES[type(message)])


@pytest.mark.parametrize("name", [*SERVER_MESSAGES.values(), *CLIENT_MESSAGES.values(), *EVENTS.values()])
def test_examples_are_what_the_schema_says(name: str) -> None:
    assert SCHEMAS[name]["examples"]
    for example in SCHEMAS[name]["examples"]:
        assert_described(example, name)


@pytest.mark.parametrize("kind", CLIENT_MESSAGES, ids=lambda kind: kind.__name__)
def test_examples_of_commands_are_parsed(kind: type) -> None:
    for example in SCHEMAS[CLIENT_MESSAGES[kind]]["examples"]:
        assert type(parse_message(json.dumps(example))) is kind


def test_a_further_member_is_found() -> None:
    with pytest.raises(AssertionError, match="'new' was unexpected"):
        assert_described({"type": "ping", "new": 1}, "Ping")
