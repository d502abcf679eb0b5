"""Sessions are opened, resumed and commanded, with a real hub and relay and the model of the database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Hashable
from typing import Any

import pytest

from push.admission import ConnectParams, SessionManager
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.errors import StoreError
from push.journal.events import Cursor, Event
from push.journal.relay import Relay
from push.journal.replay import Replay, ReplayPlanner
from push.metrics import Metrics
from push.protocol.access import ANONYMOUS_GRANT, AccessDenied, Authenticator, Grant, Role, TopicLookup
from push.protocol.messages import Auth, CloseCode, Subscribe, Unsubscribe
from tests.helpers.builders import messages_of
from tests.helpers.fake_transport import FakeTransport
from tests.helpers.following import commit, following, read_again
from tests.model.database import EPOCH, ModelConnection, ModelDatabase, ModelReader
from tests.support import TIMEOUT_SECONDS

ADMIN = Grant(Role.ADMIN, "boss", expires_at=4e9)
ANNA = Grant(Role.CUSTOMER, "anna", frozenset({"1"}))


class FakeAuthenticator(Authenticator):
    """Accepts tokens that are keys of ``grants``."""

    def __init__(self) -> None:
        self.grants = {"admin": ADMIN, "anna": ANNA}
        self.revoked: set[str | None] = set()

    @property
    def login_required(self) -> bool:
        return True

    async def verify(self, token: str) -> Grant:
        if token not in self.grants:
            raise AccessDenied(CloseCode.INVALID_TOKEN, "the token is not valid")
        return self.grants[token]

    def is_valid(self, grant: Grant) -> bool:
        return grant.subject not in self.revoked


class FakeLookup(TopicLookup):
    """Order 2 is Anna's, and there is the stream `stock`."""

    def __init__(self) -> None:
        self.lookups: list[set[str]] = []
        self.error: StoreError | None = None

    async def owned_keys(self, subject: str, keys: Collection[str]) -> set[str]:
        self.lookups.append(set(keys))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return {"2"} & set(keys) if subject == "anna" else set()

    async def known_streams(self, names: Collection[str]) -> set[str]:
        return {"stock"} & set(names)


class Site:
    """A server with a session manager."""

    def __init__(self, database: ModelDatabase, max_replayed: int = 100) -> None:
        self.database = database
        self.metrics = Metrics()
        self.hub = Hub()
        self.relay = Relay(self.hub)
        self.authenticator = FakeAuthenticator()
        self.lookup = FakeLookup()
        self.reader = ModelReader(database)
        self.manager = SessionManager(
            self.hub,
            self.relay,
            ReplayPlanner(self.relay, self.reader, max_replayed),
            self.authenticator,
            self.lookup,
            max_topics=3,
            metrics=self.metrics,
        )

    async def commit(self, *order_ids: int) -> list[Event]:
        """Commit, publish, and have all sessions served."""
        events = commit(self.database, *order_ids)
        await read_again(self.relay)
        await self.hub.wait_writable()
        return events

    def session(self, max_messages: int = 1000) -> Session:
        return Session(SendQueue(max_messages, 1 << 20), FakeTransport())

    async def open(self, grant: Grant = ADMIN, params: ConnectParams | None = None) -> Session:
        params = params or ConnectParams()
        session = self.session()
        topics = await self.manager.authorize(grant, params)
        self.manager.open(session, grant, topics, params)
        return session

    def rejections(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("orderwire_rejections_total", {"reason": reason})

    def resumes(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("orderwire_resumes_total", {"outcome": outcome})


def take(session: Session) -> list[dict[str, Any]]:
    """The messages that the session has to send, as its transport takes them."""
    messages: list[dict[str, Any]] = []
    while batches := session.take(1 << 20):
        messages += [json.loads(message) for message in messages_of(batches)]
    return messages


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


def orders(messages: list[dict[str, Any]]) -> list[int]:
    return [message["row"] for message in messages if "row" in message]


@pytest.fixture
def database() -> ModelDatabase:
    return ModelDatabase()


@pytest.fixture
async def site(database: ModelDatabase) -> AsyncIterator[Site]:
    site = Site(database)
    async with following(site.relay, ModelConnection(database)):
        yield site


# -------------------------------------------------------------------- authorize


async def test_topics_are_the_default_ones_or_those_asked_for(site: Site) -> None:
    assert await site.manager.authorize(ADMIN, ConnectParams()) == {"orders", "analytics"}
    asked = frozenset({"order:7"})
    assert await site.manager.authorize(ADMIN, ConnectParams(topics=asked)) == asked
    assert await site.manager.authorize(ADMIN, ConnectParams(topics=frozenset())) == frozenset()


@pytest.mark.parametrize(
    ("grant", "topics", "message"),
    [
        (Grant(Role.VIEWER), {"orders"}, "not permitted: orders"),
        (Grant(Role.VIEWER), {"order:1"}, "not permitted: order:1"),
        (ANNA, {"order:1", "analytics"}, "not permitted: analytics"),
        (ANNA, {"order:1", "order:2", "order:3"}, "not permitted: order:3"),
        (Grant(Role.CUSTOMER, None, frozenset({"1"})), {"order:2"}, "not permitted: order:2"),
    ],
)
async def test_topics_that_the_grant_does_not_permit_are_denied(
    site: Site, grant: Grant, topics: set[str], message: str
) -> None:
    with pytest.raises(AccessDenied, match=message) as denied:
        await site.manager.authorize(grant, ConnectParams(topics=frozenset(topics)))
    assert denied.value.close_code is CloseCode.NOT_PERMITTED


async def test_customer_may_follow_orders_of_the_token_and_of_the_subject(site: Site) -> None:
    topics = frozenset({"order:1", "order:2"})
    assert await site.manager.authorize(ANNA, ConnectParams(topics=topics)) == topics
    assert site.lookup.lookups == [{"2"}], "order 1 is in the token"


async def test_streams_are_for_admins_and_have_to_exist(site: Site) -> None:
    for topics in ({"stock"}, {"stock:a%2Fb", "orders"}):
        assert await site.manager.authorize(ADMIN, ConnectParams(topics=frozenset(topics))) == topics
        for grant in (ANNA, Grant(Role.VIEWER)):
            with pytest.raises(AccessDenied, match="not permitted") as denied:
                await site.manager.authorize(grant, ConnectParams(topics=frozenset(topics)))
            assert denied.value.close_code is CloseCode.NOT_PERMITTED
    with pytest.raises(AccessDenied, match="topics: no such topic: stocks") as denied:
        await site.manager.authorize(ADMIN, ConnectParams(topics=frozenset({"stock", "stocks:1"})))
    assert denied.value.close_code is CloseCode.BAD_REQUEST
    session = await site.open(params=ConnectParams(topics=frozenset({"orders"})))
    take(session)
    await site.manager.handle_command(session, Subscribe(frozenset({"stock"})), ConnectParams())
    await site.manager.handle_command(session, Subscribe(frozenset({"stocks"})), ConnectParams())
    answers = take(session)
    assert answers[0] == {"type": "subscribed", "topics": ["orders", "stock"]}
    assert answers[1] == {"type": "error", "code": "bad_topic", "message": "no such topic: stocks"}


async def test_a_replay_is_counted_without_the_events_of_streams(site: Site) -> None:
    (event,) = await site.commit(1)
    cursor = str(Cursor(EPOCH, event.event_id))
    await site.commit(-1, 2, -2)  # see ``STREAM_ROWS``: the first one belongs to order 1
    for topics, rows in (({"orders"}, [2]), ({"orders", "stock"}, [-1, 2, -2]), ({"order:1"}, [-1]), ({"stock:-2"}, [-2])):
        params = ConnectParams(cursor=cursor, topics=frozenset(topics))
        session = await site.open(params=params)
        take(session)
        await site.manager.resume(session, params)
        messages = take(session)
        assert messages[0] == {"type": "resumed", "recovered": True, "replayed": len(rows)}
        assert [message["row"] for message in messages if "row" in message] == rows


async def test_too_many_topics_are_a_bad_request(site: Site) -> None:
    with pytest.raises(AccessDenied, match="more than 3 topics") as denied:
        await site.manager.authorize(ADMIN, ConnectParams(topics=frozenset(f"order:{n}" for n in range(4))))
    assert denied.value.close_code is CloseCode.BAD_REQUEST
    many = Grant(Role.CUSTOMER, "anna", frozenset(map(str, range(10))))
    assert await site.manager.authorize(many, ConnectParams()) == {"orders"}, "ten orders of the claim are no topics"


async def test_authorize_waits_for_a_fresh_read(site: Site, database: ModelDatabase) -> None:
    commit(database, 1)
    await site.manager.authorize(ADMIN, ConnectParams())
    assert site.relay.totals == database.totals()


async def test_grant_that_is_revoked_meanwhile_is_denied(site: Site) -> None:
    authorizing = asyncio.create_task(site.manager.authorize(ANNA, ConnectParams()))
    await asyncio.sleep(0)
    site.authenticator.revoked.add("anna")
    with pytest.raises(AccessDenied, match="revoked") as denied:
        await asyncio.wait_for(authorizing, TIMEOUT_SECONDS)
    assert denied.value.close_code is CloseCode.INVALID_TOKEN


# -------------------------------------------------------------------- open


async def test_session_without_a_cursor_is_live_at_once(site: Site) -> None:
    await site.commit(1)
    session = await site.open()
    assert take(session) == [
        {"type": "analytics_update", "total_orders": 1, "total_revenue": "1", "pending_orders": 1},
        {"type": "authenticated", "role": "admin", "expires": "2096-10-02T07:06:40Z"},
    ]
    await site.commit(5)
    assert orders(take(session)) == [5]


async def test_transport_that_can_carry_it_gets_the_position(site: Site) -> None:
    await site.commit(1)
    params = ConnectParams(encode_cursor=lambda cursor: json.dumps({"type": "position", "id": cursor}).encode())
    session = await site.open(params=params)
    messages = take(session)
    assert types(messages) == ["analytics_update", "authenticated", "position"]
    back = await site.open(params=ConnectParams(cursor=messages[-1]["id"]))
    missed = await site.commit(2)
    await site.manager.resume(back, ConnectParams(cursor=messages[-1]["id"]))
    assert orders(take(back)) == [int(event.key) for event in missed]


async def test_session_with_a_cursor_waits_for_its_replay(site: Site) -> None:
    (event,) = await site.commit(1)
    params = ConnectParams(cursor=str(Cursor(EPOCH, event.event_id)))
    session = await site.open(params=params)
    await site.commit(2)
    assert types(take(session)) == ["analytics_update", "authenticated"], "not live yet"
    await site.manager.resume(session, params)
    messages = take(session)
    assert messages[0] == {"type": "resumed", "recovered": True, "replayed": 1}
    assert orders(messages) == [2]
    await site.commit(3)
    assert orders(take(session)) == [3]


async def test_session_without_a_token_gets_nothing_until_it_has_sent_one(site: Site) -> None:
    session = site.session()
    site.manager.add_unauthenticated(session, timeout_seconds=3600)
    await site.commit(1)
    assert take(session) == []
    await site.manager.handle_command(session, Auth("admin"), ConnectParams())
    assert types(take(session)) == ["analytics_update", "authenticated"]
    await site.commit(2)
    assert orders(take(session)) == [2]


async def test_session_that_sends_no_token_in_time_is_closed(site: Site) -> None:
    session = site.session()
    site.manager.add_unauthenticated(session, timeout_seconds=0.01)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while session.close_code is None:
            await asyncio.sleep(0.005)
    assert session.close_code is CloseCode.NOT_AUTHENTICATED


# -------------------------------------------------------------------- resume


async def test_cursor_that_cannot_be_replayed_leads_to_fetching_anew(site: Site) -> None:
    params = ConnectParams(cursor="ffffffff-1-0-1")
    session = await site.open(params=params)
    await site.manager.resume(session, params)
    assert {"type": "resumed", "recovered": False, "replayed": 0} in take(session)
    await site.commit(1)
    assert orders(take(session)) == [1], "it is live"
    assert (site.resumes("fetch_anew"), site.resumes("recovered")) == (1, None)


async def test_totals_that_change_before_a_client_is_told_to_fetch_anew_reach_it(site: Site) -> None:
    params = ConnectParams(cursor="ffffffff-1-0-1")
    session = await site.open(params=params)
    assert take(session)[0]["total_orders"] == 0
    await site.commit(1, 2)
    await site.manager.resume(session, params)
    messages = take(session)
    assert types(messages) == ["resumed", "analytics_update"]
    assert messages[-1]["total_orders"] == 2


async def test_resume_does_nothing_without_a_cursor(site: Site) -> None:
    session = await site.open()
    take(session)
    await site.manager.resume(session, ConnectParams())
    assert take(session) == []
    assert site.resumes("recovered") is None


async def test_sessions_of_one_subject_take_one_turn_at_reading_and_others_one_each(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[Hashable] = []
    plan = ReplayPlanner.plan

    async def record(planner: ReplayPlanner, cursor: str, reader: Hashable) -> Replay:
        readers.append(reader)
        return await plan(planner, cursor, reader)

    monkeypatch.setattr(ReplayPlanner, "plan", record)
    (event,) = await site.commit(1)
    params = ConnectParams(cursor=str(Cursor(EPOCH, event.event_id)))
    for grant in (ADMIN, ADMIN, ANONYMOUS_GRANT, ANONYMOUS_GRANT):
        session = await site.open(grant, params)
        await site.manager.resume(session, params)
    assert readers[0] == readers[1]
    assert len(set(readers)) == 3


async def test_long_replay_is_sent_in_chunks_and_ends_live(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.admission.CHUNK_EVENTS", 4)
    monkeypatch.setattr("push.admission.MAX_FINAL_EVENTS", 2)
    (first,) = await site.commit(0)
    await site.commit(*range(1, 20))
    params = ConnectParams(cursor=str(Cursor(EPOCH, first.event_id)))
    session = await site.open(params=params)
    await site.manager.resume(session, params)
    messages = take(session)
    assert orders(messages) == list(range(1, 20))
    assert types(messages)[-1] == "analytics_update", "the totals as of the last event"
    assert site.metrics.registry.get_sample_value("orderwire_replayed_events_total") == 19
    assert site.resumes("recovered") == 1


async def test_customer_is_replayed_its_own_events_and_their_number(site: Site) -> None:
    (first,) = await site.commit(9)
    await site.commit(1, 2, 3, 4)
    params = ConnectParams(cursor=str(Cursor(EPOCH, first.event_id)))
    session = await site.open(ANNA, params)
    await site.manager.resume(session, params)
    messages = take(session)
    assert orders(messages) == [1]
    assert [message for message in messages if message["type"] == "resumed"] == [
        {"type": "resumed", "recovered": True, "replayed": 1}
    ]


async def test_database_that_cannot_answer_makes_the_client_come_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*args: object) -> None:
        raise StoreError("away")

    monkeypatch.setattr(site.reader, "writer_snapshot", fails)
    params = ConnectParams(cursor=f"{EPOCH}-1-0-1")
    session = await site.open(params=params)
    await site.manager.resume(session, params)
    assert session.close_code is CloseCode.RESUME_AGAIN


async def test_events_dropped_during_the_replay_make_the_client_come_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = await site.commit(0)
    await site.commit(1)
    monkeypatch.setattr(site.relay.recent_events, "since", lambda seq: None)
    params = ConnectParams(cursor=str(Cursor(EPOCH, first.event_id)))
    session = await site.open(params=params)
    await site.manager.resume(session, params)
    assert session.close_code is CloseCode.RESUME_AGAIN


async def test_client_that_does_not_read_its_replay_is_a_slow_consumer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.admission.REPLAY_STALL_SECONDS", 0.02)
    monkeypatch.setattr("push.admission.CHUNK_EVENTS", 4)
    monkeypatch.setattr("push.admission.MAX_FINAL_EVENTS", 2)
    (first,) = await site.commit(0)
    await site.commit(*range(1, 20))
    params = ConnectParams(cursor=str(Cursor(EPOCH, first.event_id)))
    session = site.session(max_messages=4)
    site.manager.open(session, ADMIN, await site.manager.authorize(ADMIN, params), params)
    await asyncio.wait_for(site.manager.resume(session, params), TIMEOUT_SECONDS)
    assert session.close_code is CloseCode.SLOW_CONSUMER


# -------------------------------------------------------------------- commands


async def test_subscribe_adds_topics_and_unsubscribe_removes_them(site: Site) -> None:
    session = await site.open(params=ConnectParams(topics=frozenset({"order:1"})))
    take(session)
    await site.manager.handle_command(session, Subscribe(frozenset({"order:2"})), ConnectParams())
    assert take(session) == [{"type": "subscribed", "topics": ["order:1", "order:2"]}]
    await site.commit(1, 2, 3)
    assert orders(take(session)) == [1, 2]
    await site.manager.handle_command(session, Unsubscribe(frozenset({"order:1"})), ConnectParams())
    assert take(session) == [{"type": "subscribed", "topics": ["order:2"]}]
    await site.commit(1, 2, 3)
    assert orders(take(session)) == [2]


async def test_subscribing_to_the_totals_sends_them(site: Site) -> None:
    session = await site.open(params=ConnectParams(topics=frozenset({"orders"})))
    take(session)
    await site.manager.handle_command(session, Subscribe(frozenset({"analytics"})), ConnectParams())
    assert types(take(session)) == ["subscribed", "analytics_update"]
    await site.manager.handle_command(session, Subscribe(frozenset({"analytics"})), ConnectParams())
    assert types(take(session)) == ["subscribed"], "it had them already"


@pytest.mark.parametrize(
    ("topics", "code", "message"),
    [
        ({"order:2", "order:3"}, "not_permitted", "not permitted: order:3"),
        ({"analytics"}, "not_permitted", "not permitted: analytics"),
        ({"order:5", "order:6", "order:7"}, "too_many_topics", "at most 3"),
    ],
)
async def test_subscription_that_is_rejected_changes_nothing(site: Site, topics: set[str], code: str, message: str) -> None:
    session = await site.open(ANNA)
    take(session)
    await site.manager.handle_command(session, Subscribe(frozenset(topics)), ConnectParams())
    assert take(session) == [{"type": "error", "code": code, "message": message}]
    await site.commit(1, 2, 3)
    assert orders(take(session)) == [1]
    assert session.close_code is None
    assert site.rejections("not_permitted") == (1 if code == "not_permitted" else None)


async def test_new_token_that_permits_less_removes_topics(site: Site) -> None:
    session = await site.open(params=ConnectParams(topics=frozenset({"order:1", "analytics"})))
    take(session)
    await site.manager.handle_command(session, Auth("anna"), ConnectParams())
    assert take(session) == [
        {"type": "authenticated", "role": "customer", "expires": None},
        {"type": "subscribed", "topics": ["order:1"]},
    ]
    await site.commit(1, 2)
    assert orders(take(session)) == [1]


async def test_new_token_that_permits_the_same_is_just_accepted(site: Site) -> None:
    session = await site.open()
    take(session)
    await site.manager.handle_command(session, Auth("admin"), ConnectParams())
    assert types(take(session)) == ["authenticated"]


async def test_invalid_token_closes_the_session(site: Site) -> None:
    session = await site.open()
    await site.manager.handle_command(session, Auth("wrong"), ConnectParams())
    assert session.close_code is CloseCode.INVALID_TOKEN
    assert take(session) == [], "what was queued is not sent any more"
    assert site.rejections("invalid_token") == 1


async def test_command_that_the_database_cannot_answer_closes_the_session(site: Site) -> None:
    session = await site.open(ANNA)
    site.lookup.error = StoreError("away")
    await site.manager.handle_command(session, Subscribe(frozenset({"order:2"})), ConnectParams())
    assert session.close_code is CloseCode.UNAVAILABLE


async def test_orders_are_looked_up_for_one_customer_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    running = most_running = 0

    async def owned_keys(subject: str, keys: Collection[str]) -> set[str]:
        nonlocal running, most_running
        running += 1
        most_running = max(most_running, running)
        await asyncio.sleep(0.001)
        running -= 1
        return set(keys)

    monkeypatch.setattr(site.lookup, "owned_keys", owned_keys)
    params = ConnectParams(topics=frozenset({"order:2"}))
    await asyncio.gather(*(site.manager.authorize(ANNA, params) for _ in range(5)))
    assert most_running == 1
