"""Whatever strangers send, each function that reads it answers with a value or with its own error."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from push.delivery.rate_limit import TokenBucket, TokenBucketRate
from push.delivery.send_queue import SendQueue
from push.delivery.session import RateLimits, Session
from push.errors import BadCursor
from push.journal.events import Cursor
from push.protocol.access import Grant, Role, parse_topics
from tests.fuzz.inputs import command, cursor
from tests.helpers.builders import messages_of
from tests.helpers.fake_transport import FakeTransport

# With halves of surrogate pairs: JSON can hold them, and aiohttp makes them of bytes that are no UTF-8.
ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=200)
SEEDS = st.integers(0, 2**32).map(random.Random)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ANY_TEXT, inner, max_size=5),
    max_leaves=20,
)


def session(pace: RateLimits | None = None) -> Session:
    session = Session(SendQueue(1000, 2**20), FakeTransport(), pace)
    session.grant = Grant(Role.ADMIN)
    return session


@given(
    ANY_TEXT
    | SEEDS.map(command)
    | st.builds(lambda name, more: json.dumps({**more, "type": name}), ANY_TEXT, st.dictionaries(ANY_TEXT, JSON))
    | st.builds(lambda name, topics: json.dumps({"type": name, "topics": topics}), st.just("subscribe"), JSON)
)
def test_a_message_is_answered_and_ends_nothing(text: str) -> None:
    box = session()
    box.receive_text(text)
    assert box.close_code is None
    for answer in messages_of(box.take(2**20)):
        assert json.loads(answer.decode())["type"]


def test_no_depth_of_nesting_is_more_than_a_message_that_is_not_understood() -> None:
    for depth in (*range(1, 1100), 30_000):
        for start, end in (("[", "]"), ('{"type":', "}"), ('{"type":"subscribe","topics":[', "]}")):
            box = session()
            box.receive_text(start + "[" * depth + "]" * depth + end)
            (answer,) = messages_of(box.take(2**20))
            assert json.loads(answer)["type"] == "error", depth


@given(st.lists(JSON | st.from_regex("order:-?[0-9]{1,25}", fullmatch=True)))
def test_topics(names: list[Any]) -> None:
    try:
        topics = parse_topics(names)
    except ValueError:
        return
    assert topics == set(names)


@given(ANY_TEXT | SEEDS.map(lambda rng: cursor(rng, "deadbeef")))
def test_a_cursor(text: str) -> None:
    try:
        parsed = Cursor.parse(text)
    except BadCursor:
        return
    assert Cursor.parse(str(parsed)) == parsed


def test_a_slow_pace_lets_one_pass() -> None:
    bucket = TokenBucket(TokenBucketRate(0.1))
    assert bucket.take(1, 0.0)
    assert not bucket.take(1, 9.0)
    assert bucket.take(1, 10.0)


def test_a_debt_is_a_burst_at_most() -> None:
    bucket = TokenBucket(TokenBucketRate(10))
    bucket.take_with_debt(1000, 0.0)
    assert not bucket.take(1, 2.0)
    assert bucket.take(1, 2.1)
