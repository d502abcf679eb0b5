"""gateway.sessions.session_adapter: parameters of a connection, and the bookkeeping when a session opens and closes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.app_keys import HUB, METRICS, RELAY, SESSION_MANAGER, SETTINGS
from gateway.http.request_guard import REQUEST_GUARD, ConnectionSlot
from gateway.http.request_head import RequestHead
from gateway.net.client_address import resolve_peer
from gateway.net.connection_limits import Connection
from gateway.sessions.background_tasks import BACKGROUND_TASKS, BackgroundTasks
from gateway.sessions.session_adapter import SessionAdapter, not_started_reason, require_started
from push.delivery.hub import Hub
from push.metrics import Metrics
from push.protocol.access import ANONYMOUS_GRANT, AccessDenied, Grant
from push.protocol.messages import CloseCode
from settings import Settings

ADDRESS = "192.0.2.1"


class Transport:
    """A session transport that sends nothing."""

    def schedule_flush(self) -> None:
        pass

    def flush_broadcast(self) -> int:
        return 0


class Manager:
    """A session manager that admits everything, and whose replay waits until it is told to go on."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.calls: list[str] = []
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    def add_unauthenticated(self, _session: Any, _seconds: float) -> None:
        self.calls.append("add_unauthenticated")

    async def authorize(self, _grant: Grant, params: Any) -> frozenset[str]:
        self.calls.append("authorize")
        return frozenset(params.topics or ())

    def open(self, session: Any, grant: Grant, topics: Any, _params: Any) -> None:
        self.calls.append("open")
        self.hub.add(session)
        session.apply_grant(grant, topics)

    async def resume(self, _session: Any, _params: Any) -> None:
        self.calls.append("resume")
        await self.go_on.wait()
        if self.error is not None:
            raise self.error

    async def handle_command(self, _session: Any, command: Any, _params: Any) -> None:
        self.calls.append(command)
        await self.go_on.wait()
        if self.error is not None:
            raise self.error


class Guard:
    def __init__(self) -> None:
        self.penalized: list[str] = []

    def penalize(self, address: Any) -> None:
        self.penalized.append(str(address))


class Site:
    """What an adapter finds in the application."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.hub = Hub(self.metrics)
        self.manager = Manager(self.hub)
        self.guard = Guard()
        self.tasks = BackgroundTasks()
        self.released = 0
        self.app: Any = {
            SETTINGS: Settings.from_environment({}),
            METRICS: self.metrics,
            HUB: self.hub,
            SESSION_MANAGER: self.manager,
            REQUEST_GUARD: self.guard,
            BACKGROUND_TASKS: self.tasks,
        }

    def release(self) -> None:
        self.released += 1

    def adapter(self, query: str = "", *, within_limits: bool = True, **headers: str) -> SessionAdapter:
        sent = CIMultiDictProxy(CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}))
        peer = resolve_peer(ADDRESS, secure=False, host="localhost", forwarding={}, trusted=())
        connection = Connection(ADDRESS, within_limits=True, within_rate=True)
        head = RequestHead("GET", HttpVersion11, URL(f"/api/ws?{query}"), sent, 0, peer, connection)
        return SessionAdapter(self.app, head, ConnectionSlot(within_limits, self.release), "websocket", Transport())

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("topics=Nonsense", "topics: no such topic: Nonsense"),
        ("conflate=0", "conflate: expected a whole number from 1 to 10000"),
        ("conflate=10001", "conflate: expected a whole number from 1 to 10000"),
        ("conflate=1.5", "conflate: expected a whole number from 1 to 10000"),
        ("conflate=", "conflate: expected a whole number from 1 to 10000"),
    ],
)
async def test_bad_parameters_are_denied(site: Site, query: str, message: str) -> None:
    with pytest.raises(AccessDenied, match=message) as raised:
        site.adapter(query)
    assert raised.value.close_code is CloseCode.BAD_REQUEST


async def test_a_session_over_the_limits_is_denied(site: Site) -> None:
    with pytest.raises(AccessDenied) as raised:
        site.adapter(within_limits=False)
    assert raised.value.close_code is CloseCode.TOO_MANY_CONNECTIONS


async def test_parameters_reach_the_session_manager(site: Site) -> None:
    params = site.adapter("topics=order:1,analytics&last_event_id=query&conflate=5", Last_Event_ID="header")._connect_params
    assert (params.cursor, params.topics) == ("header", frozenset(["order:1", "analytics"]))
    assert site.adapter("last_event_id=query")._connect_params.cursor == "query"
    assert site.adapter("topics=")._connect_params.topics == frozenset()
    # Without parameters all sessions share one object.
    assert site.adapter()._connect_params is site.adapter()._connect_params


async def test_without_a_grant_the_session_waits_for_its_token(site: Site) -> None:
    await site.adapter().admit(None)
    assert site.manager.calls == ["add_unauthenticated"]
    assert site.sample("orderwire_sessions", transport="websocket", role="admin") == 0


async def test_a_session_is_counted_from_its_admission_to_the_end_of_its_connection(site: Site) -> None:
    adapter = site.adapter()
    await adapter.admit(ANONYMOUS_GRANT)
    assert site.manager.calls == ["authorize", "open"]
    assert site.sample("orderwire_sessions", transport="websocket", role="admin") == 1
    adapter.connection_lost()
    assert site.sample("orderwire_sessions", transport="websocket", role="admin") == 0
    assert site.sample("orderwire_sessions_closed_total", code="1000") == 1
    assert (len(site.hub), site.released) == (0, 1)


@pytest.mark.parametrize(
    ("close_code", "rejections", "penalized"),
    [
        (CloseCode.TOO_FAST, 1, True),
        (CloseCode.PROTOCOL_ERROR, 1, True),
        (CloseCode.TOO_BIG, 1, True),
        (CloseCode.INVALID_TEXT, 1, True),
        (CloseCode.UNSUPPORTED, 1, True),
        (CloseCode.NOT_AUTHENTICATED, 1, False),
        (CloseCode.SLOW_CONSUMER, 0, False),
        (CloseCode.DRAIN, 0, False),
    ],
)
async def test_a_close_is_counted_once_by_its_code(site: Site, close_code: CloseCode, rejections: int, penalized: bool) -> None:
    adapter = site.adapter()
    await adapter.admit(ANONYMOUS_GRANT)
    adapter.record_close()  # not closed yet
    adapter.session.close(close_code)
    adapter.record_close()
    adapter.connection_lost()
    assert site.sample("orderwire_sessions_closed_total", code=str(int(close_code))) == 1
    assert site.sample("orderwire_sessions_closed_total", code="1000") == 0
    assert site.sample("orderwire_rejections_total", reason=close_code.name.lower()) == rejections
    assert site.sample("orderwire_send_queue_overflows_total") == (close_code is CloseCode.SLOW_CONSUMER)
    assert site.guard.penalized == ([ADDRESS] if penalized else [])


async def test_a_cursor_starts_a_replay_that_ends_with_the_connection(site: Site) -> None:
    adapter = site.adapter("last_event_id=cursor")
    await adapter.admit(ANONYMOUS_GRANT)
    await asyncio.sleep(0)
    assert site.manager.calls == ["authorize", "open", "resume"]
    adapter.connection_lost()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not site.tasks._tasks


async def test_a_replay_that_fails_closes_the_session(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.manager.error = ValueError("a bug")
    site.manager.go_on.set()
    adapter = site.adapter("last_event_id=cursor")
    await adapter.admit(ANONYMOUS_GRANT)
    for _ in range(3):
        await asyncio.sleep(0)
    assert adapter.session.close_code is CloseCode.INTERNAL_ERROR
    assert [record.getMessage() for record in caplog.records] == ["a session failed: session replay"]


@pytest.mark.parametrize("fails", [False, True])
async def test_on_done_is_called_at_the_end_of_a_command(site: Site, fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    adapter = site.adapter()
    await adapter.admit(ANONYMOUS_GRANT)
    site.manager.error = ValueError("a bug") if fails else None
    done = asyncio.Event()
    command: Any = "a command"
    adapter.handle_command(command, done.set)
    await asyncio.sleep(0)
    assert site.manager.calls[-1] == "a command"
    assert not done.is_set()
    site.manager.go_on.set()
    await asyncio.wait_for(done.wait(), 10)
    await asyncio.sleep(0)
    assert adapter.session.close_code is (CloseCode.INTERNAL_ERROR if fails else None)
    assert len(caplog.records) == fails


class NotReady:
    epoch: str | None = None
    not_ready_reason: str | None = "waiting for the database"


def test_an_application_has_started_once_the_first_totals_were_read() -> None:
    relay: Any = NotReady()
    app: Any = {RELAY: relay}
    assert not_started_reason(app) == "waiting for the database"
    with pytest.raises(web.HTTPServiceUnavailable) as raised:
        require_started(app)
    assert (raised.value.text, raised.value.headers["Retry-After"]) == ("waiting for the database", "1")
    relay.epoch = "1"
    assert not_started_reason(app) is None
    require_started(app)
