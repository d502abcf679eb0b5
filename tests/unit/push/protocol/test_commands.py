"""Texts of clients become commands, or errors with a code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from push.protocol.commands import InvalidMessage, parse_message
from push.protocol.messages import Auth, Ping, Pong, Subscribe, Unsubscribe
from tests.helpers.strategies import JSON


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"type": "ping"}, Ping()),
        ({"type": "pong"}, Pong()),
        ({"type": "auth", "token": "a.b.c"}, Auth("a.b.c")),
        ({"type": "subscribe", "topics": ["orders", "order:5"]}, Subscribe(frozenset({"orders", "order:5"}))),
        ({"type": "unsubscribe", "topics": ["orders", "orders"]}, Unsubscribe(frozenset({"orders"}))),
        ({"type": "subscribe", "topics": []}, Subscribe(frozenset())),
        ({"type": "ping", "unknown": 1}, Ping()),
        ({"type": "auth", "token": "x", "unknown": [1]}, Auth("x")),
    ],
)
def test_commands(message: Any, expected: object) -> None:
    assert parse_message(json.dumps(message)) == expected


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("", "bad_json", "not JSON"),
        ("{", "bad_json", "not JSON"),
        ("[" * 100_000, "bad_json", "not JSON"),
        ("[]", "bad_frame", 'a string "type"'),
        ("1", "bad_frame", 'a string "type"'),
        ("null", "bad_frame", 'a string "type"'),
        ("{}", "bad_frame", 'a string "type"'),
        ('{"type":1}', "bad_frame", 'a string "type"'),
        ('{"type":"auth"}', "bad_frame", 'a string "token"'),
        ('{"type":"auth","token":1}', "bad_frame", 'a string "token"'),
        ('{"type":"subscribe"}', "bad_frame", 'a list "topics"'),
        ('{"type":"subscribe","topics":"orders"}', "bad_frame", 'a list "topics"'),
        ('{"type":"subscribe","topics":["orders","Other"]}', "bad_topic", "no such topic: Other"),
        ('{"type":"unsubscribe","topics":[1]}', "bad_topic", "no such topic: 1"),
        ('{"type":"unsubscribe","topics":["order:1 "]}', "bad_topic", "no such topic: order:1 "),
        ('{"type":"what"}', "unknown_type", "unknown type: what"),
        ('{"type":"PING"}', "unknown_type", "unknown type: PING"),
    ],
)
def test_errors(text: str, code: str, message: str) -> None:
    with pytest.raises(InvalidMessage, match=message) as caught:
        parse_message(text)
    assert caught.value.code == code


@pytest.mark.parametrize("template", ['{{"type":"{}"}}', '{{"type":"subscribe","topics":["{}"]}}'])
def test_errors_repeat_a_part_of_long_names_only(template: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        parse_message(template.format("x" * 1000))
    assert str(caught.value).count("x") == 40


def error_code(message: Any) -> str | None:
    try:
        parse_message(json.dumps(message))
    except InvalidMessage as error:
        return error.code
    return None


@given(JSON)
def test_no_json_leads_to_another_exception(value: Any) -> None:
    assert error_code(value) == "bad_frame"
    assert error_code({"type": value}) in {"bad_frame", "unknown_type"}
    assert error_code({"type": "auth", "token": value}) == (None if isinstance(value, str) else "bad_frame")
    assert error_code({"type": "subscribe", "topics": value}) in {"bad_frame", "bad_topic", None}
