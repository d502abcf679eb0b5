"""Parsing of client messages: each text is a command, a ping, a pong, or an error with its code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from push.protocol.commands import InvalidMessage, parse_message
from push.protocol.messages import Auth, Ping, Pong, Subscribe, Unsubscribe


@pytest.mark.parametrize(
    ("message", "parsed"),
    [
        ({"type": "ping"}, Ping()),
        ({"type": "pong"}, Pong()),
        ({"type": "auth", "token": "a.b.c"}, Auth("a.b.c")),
        ({"type": "subscribe", "topics": ["orders", "order:7", "orders"]}, Subscribe(frozenset({"orders", "order:7"}))),
        ({"type": "unsubscribe", "topics": []}, Unsubscribe(frozenset())),
    ],
)
def test_known_messages_are_parsed_and_unknown_members_ignored(message: dict[str, Any], parsed: object) -> None:
    assert parse_message(json.dumps(message)) == parsed
    assert parse_message(json.dumps({**message, "more": 1})) == parsed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad_json"),
        ("[" * 60_000, "bad_json"),
        ("[]", "bad_frame"),
        ('{"type":1}', "bad_frame"),
        ('{"type":"auth"}', "bad_frame"),
        ('{"type":"auth","token":1}', "bad_frame"),
        ('{"type":"subscribe"}', "bad_frame"),
        ('{"type":"subscribe","topics":"orders"}', "bad_frame"),
        ('{"type":"unsubscribe","topics":["order:01"]}', "bad_topic"),
        ('{"type":"PING"}', "unknown_type"),
    ],
)
def test_invalid_message_raises_with_the_code_for_the_client(text: str, code: str) -> None:
    with pytest.raises(InvalidMessage) as raised:
        parse_message(text)
    assert raised.value.code == code
    assert len(str(raised.value)) < 100
