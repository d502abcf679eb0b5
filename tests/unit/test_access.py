"""The rule of who may see what, topics, and the token bucket."""

from __future__ import annotations

import time

import pytest

from push.delivery.rate_limit import BURST_SECONDS, TokenBucket, TokenBucketRate
from push.delivery.send_queue import SendQueue
from push.delivery.session import RateLimits, Session
from push.protocol.access import ANONYMOUS_GRANT, Grant, Role, order_ids, parse_topics
from tests.unit.carried import Carried
from tests.unit.test_positions import an_event

ANNAS = an_event(order_id=1, customer_id="anna")
BOS = an_event(order_id=2, customer_id="bo")
NOBODYS = an_event(order_id=3)
ALL = [ANNAS, BOS, NOBODYS]


def seen(grant: Grant) -> list[int]:
    return [event.order_id for event in ALL if grant.may_see(event)]


def test_what_each_role_may_see() -> None:
    assert seen(Grant(Role.ADMIN)) == [1, 2, 3]
    assert seen(Grant(Role.VIEWER, "anna", frozenset({1}))) == []
    assert seen(Grant(Role.CUSTOMER, "anna")) == [1]
    assert seen(Grant(Role.CUSTOMER, "anna", frozenset({3}))) == [1, 3]
    assert seen(Grant(Role.CUSTOMER, None, frozenset({2}))) == [2]
    # An order without a customer belongs to nobody, not to a token without a subject.
    assert seen(Grant(Role.CUSTOMER, None, frozenset({7}))) == []


def a_session(grant: Grant | None, topics: frozenset[str]) -> Session:
    session = Session(SendQueue(10, 1000), Carried())
    session.grant = grant
    session.set_topics(topics)
    return session


def test_a_session_sees_what_it_follows_and_may_see() -> None:
    everything = ANONYMOUS_GRANT.default_topics()
    assert a_session(ANONYMOUS_GRANT, everything).visible(ALL) == ALL
    assert a_session(ANONYMOUS_GRANT, frozenset({"order:2"})).visible(ALL) == [BOS]
    assert a_session(ANONYMOUS_GRANT, frozenset({"analytics"})).visible(ALL) == []
    # Even if a topic slipped through, the rule holds.
    assert a_session(Grant(Role.CUSTOMER, "anna"), frozenset({"orders", "order:2"})).visible(ALL) == [ANNAS]
    assert a_session(Grant(Role.VIEWER), everything).visible(ALL) == []
    assert a_session(Grant(Role.ADMIN, expires_at=time.time() - 1), everything).visible(ALL) == []
    assert a_session(None, everything).visible(ALL) == []


@pytest.mark.parametrize("name", ["orders", "analytics", "order:1", "order:0", "order:-5", f"order:{2**63 - 1}"])
def test_topics(name: str) -> None:
    assert parse_topics([name]) == {name}
    assert order_ids([name]) == ({int(name[6:])} if name.startswith("order:") else set())


@pytest.mark.parametrize(
    "name",
    ["", "order", "order:", "order:01", "order:+1", "order:1 ", "order:١", f"order:{2**63}", "ORDERS", 1, None, ["orders"]],
)
def test_what_is_no_topic(name: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_topics(["orders", name])


def test_a_bucket_gives_a_burst_and_then_its_pace() -> None:
    bucket = TokenBucket(TokenBucketRate(10))
    assert all(bucket.take(1, 0.0) for _ in range(int(10 * BURST_SECONDS)))
    assert not bucket.take(1, 0.0)
    assert not bucket.take(1, 0.09)
    assert bucket.take(1, 0.11)
    assert not bucket.take(1, 0.11)
    assert not bucket.is_full(0.5)
    assert bucket.is_full(10.0)
    assert not bucket.take(10 * BURST_SECONDS + 1, 10.0)  # more than it ever holds
    assert bucket.take(10 * BURST_SECONDS, 10.0)


def test_a_client_that_sends_too_much_is_ended() -> None:
    for pace, size in ((RateLimits(frames_per_second=1), 0), (RateLimits(bytes_per_second=50), 50)):
        session = Session(SendQueue(10, 1000), Carried(), pace)
        assert all(session.charge_rate_limit(size) for _ in range(int(BURST_SECONDS)))
        assert session.close_code is None
        assert not session.charge_rate_limit(size)
        assert session.close_code == 3013
