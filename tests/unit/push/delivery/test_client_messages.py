"""Text and binary messages from a client: each is answered or returned as a command, and no text closes the session."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.delivery.client_messages import receive_binary, receive_text
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.protocol.access import Grant, Role
from push.protocol.messages import Auth, CloseCode, Subscribe, Unsubscribe
from tests.fuzz.inputs import command
from tests.helpers.builders import messages_of
from tests.helpers.fake_transport import FakeTransport, RecordedSession
from tests.helpers.strategies import ANY_TEXT, JSON, SEEDS


def admitted_session() -> Session:
    session = Session(SendQueue(1000, 2**20), FakeTransport())
    session.grant = Grant(Role.ADMIN)
    return session


def answers(recorded: RecordedSession) -> list[Any]:
    return [json.loads(message) for message in recorded.sent()]


def test_ping_is_answered_and_pong_is_not() -> None:
    recorded = RecordedSession()
    assert receive_text(recorded.session, '{"type":"ping"}') is None
    assert receive_text(recorded.session, '{"type":"pong","more":1}') is None
    assert answers(recorded) == [{"type": "pong"}]


def test_commands_are_returned_without_an_answer() -> None:
    recorded = RecordedSession()
    assert receive_text(recorded.session, '{"type":"subscribe","topics":["orders"]}') == Subscribe(frozenset({"orders"}))
    assert receive_text(recorded.session, '{"type":"unsubscribe","topics":[]}') == Unsubscribe(frozenset())
    assert receive_text(recorded.session, '{"type":"auth","token":"x"}') == Auth("x")
    assert recorded.sent() == []


def test_only_auth_is_accepted_before_authentication() -> None:
    recorded = RecordedSession()
    recorded.session.grant = None
    assert receive_text(recorded.session, '{"type":"subscribe","topics":["orders"]}') is None
    assert [answer["code"] for answer in answers(recorded)] == ["not_authenticated"]
    assert receive_text(recorded.session, '{"type":"auth","token":"x"}') == Auth("x")


def test_a_closed_session_ignores_messages() -> None:
    recorded = RecordedSession()
    recorded.session.close(CloseCode.DRAIN)
    assert receive_text(recorded.session, '{"type":"auth","token":"x"}') is None
    assert recorded.sent() == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((text, "bad_json") for text in ("", "{", "ping", "[" * 60_000, '{"a":' * 10_000, "\x00")),
        *(
            (text, "bad_frame")
            for text in ("[]", "null", "1", '"ping"', "{}", '{"type":1}', '{"type":null}', '{"Type":"ping"}')
        ),
        *((text, "unknown_type") for text in ('{"type":"nonsense"}', '{"type":""}', '{"type":"PING"}')),
    ],
)
def test_invalid_message_is_answered_with_an_error_only(text: str, code: str) -> None:
    recorded = RecordedSession()
    assert receive_text(recorded.session, text) is None
    (answer,) = answers(recorded)
    assert (answer["type"], answer["code"]) == ("error", code)
    assert recorded.closed_with() is None


def test_error_does_not_repeat_a_long_type() -> None:
    recorded = RecordedSession()
    receive_text(recorded.session, json.dumps({"type": "x" * 60_000}))
    assert len(recorded.sent()[0]) < 200


def test_binary_message_closes_the_session() -> None:
    recorded = RecordedSession()
    receive_binary(recorded.session)
    assert recorded.closed_with() is CloseCode.UNSUPPORTED


@given(
    ANY_TEXT
    | SEEDS.map(command)
    | st.builds(lambda name, more: json.dumps({**more, "type": name}), ANY_TEXT, st.dictionaries(ANY_TEXT, JSON))
    | st.builds(lambda name, topics: json.dumps({"type": name, "topics": topics}), st.just("subscribe"), JSON)
)
def test_no_text_closes_the_session(text: str) -> None:
    session = admitted_session()
    receive_text(session, text)
    assert session.close_code is None
    for answer in messages_of(session.take(2**20)):
        assert json.loads(answer.decode())["type"]


def test_any_depth_of_nesting_is_answered_with_an_error() -> None:
    for depth in (*range(1, 1100), 30_000):
        for start, end in (("[", "]"), ('{"type":', "}"), ('{"type":"subscribe","topics":[', "]}")):
            session = admitted_session()
            receive_text(session, start + "[" * depth + "]" * depth + end)
            (answer,) = messages_of(session.take(2**20))
            assert json.loads(answer)["type"] == "error", depth
