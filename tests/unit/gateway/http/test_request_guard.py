"""gateway.http.request_guard: which requests are rejected and why, who is counted, and the headers of every response."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.http.request_guard import RequestGuard
from gateway.http.request_head import REQUEST_HEAD, RequestHead
from gateway.net.client_address import resolve_peer
from gateway.net.connection_limits import MAX_REJECTED_PENDING, Connection, ConnectionLimiter
from push.metrics import Metrics
from push.protocol.access import ANONYMOUS_GRANT, AccessDenied, Grant, Role
from push.protocol.messages import CloseCode
from settings import Settings

LOGIN = {"ALLOWED_ORIGINS": "https://shop.example", "TRUSTED_PROXIES": "10.0.0.1"}


class Tokens:
    """An authenticator whose only token is "viewer"."""

    def __init__(self, *, login_required: bool) -> None:
        self.login_required = login_required

    async def verify(self, token: str) -> Grant:
        if token != "viewer":
            raise AccessDenied(CloseCode.INVALID_TOKEN, "the token is not valid")
        return Grant(Role.VIEWER, "anna")

    def is_valid(self, grant: Grant) -> bool:
        return True


class Site:
    """A guard and what it counts."""

    def __init__(self, *, login: bool = True, **environment: str) -> None:
        self.settings = Settings.from_environment({**LOGIN, **environment})
        self.metrics = Metrics()
        self.limiter = ConnectionLimiter(self.settings, self.metrics)
        self.guard = RequestGuard(self.settings, Tokens(login_required=login), self.limiter, self.metrics)

    def head(
        self, path: str = "/api/orders", remote: str = "127.0.0.1", *, body: int | None = 0, **headers: str
    ) -> RequestHead:
        sent = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        sent.setdefault("Host", "localhost:8000")
        forwarding = {name.lower(): sent[name] for name in sent if name.startswith("X-Forwarded")}
        peer = resolve_peer(
            remote, secure=False, host=sent["Host"], forwarding=forwarding, trusted=self.settings.trusted_proxies
        )
        connection = Connection(remote, within_limits=True, within_rate=True)
        return RequestHead("GET", HttpVersion11, URL(path), CIMultiDictProxy(sent), body, peer, connection)

    def reason(self, *arguments: Any, **named: Any) -> tuple[str, int] | None:
        rejection = self.guard.find_rejection(self.head(*arguments, **named))
        return None if rejection is None else (rejection.reason, rejection.status)

    def rejections(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value("orderwire_rejections_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    ("origin", "path", "expected"),
    [
        (None, "/api/orders", None),
        ("http://localhost:8000", "/api/orders", None),
        ("https://shop.example", "/api/orders", None),
        ("https://evil.example", "/api/orders", ("origin", 403)),
        ("null", "/api/ws", ("origin", 403)),
        ("https://evil.example", "/client/orderwire.js", None),
        ("https://evil.example", "/healthz", None),
        ("https://evil.example", "/readyz", None),
    ],
)
def test_pages_of_other_origins_are_rejected(origin: str | None, path: str, expected: tuple[str, int] | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    assert Site().reason(path, **headers) == expected


def test_a_mounted_application_has_its_paths_below_the_prefix() -> None:
    site = Site()
    site.guard.mount_prefix = "/orderwire"
    assert site.reason("/orderwire/healthz", Origin="https://evil.example") is None
    assert site.reason("/healthz/of/the/host", Origin="https://evil.example") == ("origin", 403)


@pytest.mark.parametrize("mounted", ["", "/mounted"])
def test_paths_are_the_same_below_the_path_of_a_proxy(mounted: str) -> None:
    site = Site(BASE_PATH="/shop")
    site.guard.mount_prefix = mounted
    for path, expected in (
        *(("/shop/healthz", None), ("/healthz", None), ("/shop/client/x.js", None), ("/shop/api/orders", ("origin", 403))),
        *(("/shopping/healthz", ("origin", 403)), ("/shop/shop/healthz", ("origin", 403)), ("/shop", ("origin", 403))),
    ):
        assert site.reason(mounted + path, Origin="https://evil.example") == expected, path


@pytest.mark.parametrize(
    ("remote", "host", "anonymous", "expected"),
    [
        ("127.0.0.1", "localhost:8000", "0", None),
        ("::1", "[::1]:8000", "0", None),
        ("192.0.2.1", "localhost:8000", "0", ("not_loopback", 403)),
        ("127.0.0.1", "rebound.example", "0", ("host", 403)),
        ("192.0.2.1", "rebound.example", "1", ("host", 403)),
        ("192.0.2.1", "192.0.2.2:8000", "1", None),
        ("192.0.2.1", "hub.example", "1", None),
        ("192.0.2.1", "shop.example", "1", None),  # the host of an allowed origin
    ],
)
def test_without_login_only_this_machine_is_answered(
    remote: str, host: str, anonymous: str, expected: tuple[str, int] | None
) -> None:
    site = Site(login=False, ALLOW_ANONYMOUS=anonymous, ALLOWED_HOSTS="hub.example")
    assert site.reason(remote=remote, Host=host) == expected
    assert Site(ALLOW_ANONYMOUS=anonymous).reason(remote=remote, Host=host) is None


@pytest.mark.parametrize(
    ("remote", "headers", "reason", "setting"),
    [
        ("127.0.0.1", {"Origin": "https://evil.example"}, "origin", "ALLOWED_ORIGINS"),
        ("127.0.0.1", {"Origin": "http://evil.example", "Host": "evil.example"}, "host", "ALLOWED_HOSTS"),
        ("192.0.2.1", {"Origin": "http://localhost:8000"}, "not_loopback", "JWT_SECRET"),
    ],
)
def test_a_page_that_opens_a_websocket_is_told_by_a_close_code_and_the_operator_by_one_line(
    remote: str, headers: dict[str, Any], reason: str, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(login=False)
    upgrade = site.head("/api/ws", remote, Upgrade="websocket", **headers)
    assert site.guard.find_rejection(upgrade) is None
    with caplog.at_level("INFO", "orderwire.rejections"):
        for _ in range(3):
            with pytest.raises(AccessDenied, match=setting) as raised:
                site.guard.reject_page(upgrade)
    assert raised.value.close_code is CloseCode.NOT_PERMITTED
    assert (site.rejections(reason), site.rejections("not_permitted")) == (3.0, 0.0)
    assert [(record.levelname, setting in record.getMessage()) for record in caplog.records] == [("INFO", True)]
    upgrade.method = "OPTIONS"
    assert site.guard.find_rejection(upgrade) is not None
    # What is no WebSocket, and what is no page, can read a status.
    assert site.reason("/api/ws", remote, **headers) == (reason, 403)
    without = {name: value for name, value in headers.items() if name != "Origin"}
    assert site.reason("/api/ws", remote, Upgrade="websocket", **without) == (None if reason == "origin" else (reason, 403))


def test_what_a_client_has_sent_is_logged_without_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    with caplog.at_level("INFO", "orderwire.rejections"), pytest.raises(AccessDenied):
        site.guard.reject_page(site.head("/api/ws", Origin="https://evil.example\x1b[2J\u2028\xff" + "x" * 500))
    (message,) = caplog.messages
    assert message.startswith("pages of https://evil.example?[2j??x")
    assert len(message) < 300


def test_a_token_that_a_client_sends_as_a_host_is_logged_without_its_case() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoi"
    site, site_with_login = Site(login=False), Site()
    for rejection in (
        site.guard.find_rejection(site.head(Host=token)),
        site_with_login.guard.find_rejection(site_with_login.head(Origin=token)),
    ):
        assert rejection is not None
        assert "eyjhbgcioijiuzi1nij9" in rejection.message
        assert "eyJ" not in rejection.message


def test_without_login_a_proxy_that_is_not_trusted_is_named() -> None:
    site = Site(login=False)
    rejection = site.guard.find_rejection(site.head(X_Forwarded_For="192.0.2.1"))
    assert rejection is not None
    assert (rejection.reason, "not in TRUSTED_PROXIES" in rejection.message) == ("not_loopback", True)
    rejection = site.guard.find_rejection(site.head(remote="10.0.0.1"))
    assert rejection is not None
    assert (rejection.reason, "sends no X-Forwarded-For" in rejection.message) == ("not_loopback", True)


@pytest.mark.parametrize(("body", "expected"), [(0, None), (1, ("body", 400)), (65537, ("body", 400)), (None, ("body", 400))])
def test_a_websocket_opening_has_no_body(body: int | None, expected: tuple[str, int] | None) -> None:
    assert Site().reason("/api/ws", body=body) == expected


@pytest.mark.parametrize(("body", "expected"), [(0, None), (65536, None), (65537, ("body", 413)), (None, ("body", 413))])
def test_a_body_must_be_small_and_of_known_length(body: int | None, expected: tuple[str, int] | None) -> None:
    assert Site().reason(body=body) == expected


def test_beyond_the_limit_of_connections_only_a_websocket_goes_on() -> None:
    """It is told by a close code, since a page cannot read the status of a failed upgrade."""
    site = Site()
    for path, expected in (("/api/orders", "connections"), ("/healthz", "connections"), ("/api/ws", None)):
        head = site.head(path)
        head.connection.within_limits = False
        rejection = site.guard.find_rejection(head)
        assert (rejection and rejection.reason) == expected


def test_a_denied_session_is_counted_by_the_name_of_its_close_code() -> None:
    site = Site()
    site.guard.report_denied(AccessDenied(CloseCode.TOO_MANY_CONNECTIONS, "too many"), site.head("/api/ws"))
    assert (site.rejections("too_many_connections"), site.rejections("connections")) == (1.0, 0.0)


def test_requests_are_limited_by_address_and_counted_once() -> None:
    site = Site(HANDSHAKES_PER_SECOND="0.1")
    first, second, other = site.head(), site.head(), site.head(remote="192.0.2.1")
    for head in (first, second, other):
        head.connection.within_rate = False
    assert site.guard.find_rejection(first) is None
    assert site.guard.find_rejection(first) is None  # the same request again, as after a handshake that aiohttp has to answer
    rejection = site.guard.find_rejection(second)
    assert rejection is not None
    assert (rejection.reason, rejection.status, rejection.close_connection) == ("handshakes", 429, True)
    assert site.guard.find_rejection(other) is None


async def test_the_token_decides_the_grant() -> None:
    site = Site()
    assert await site.guard.authenticate(site.head()) is None
    viewer = site.head(Authorization="Bearer viewer")
    assert (await site.guard.require_role(viewer, Role.ADMIN, Role.VIEWER)).role is Role.VIEWER
    for head, close_code in (
        (viewer, CloseCode.NOT_PERMITTED),
        (site.head(), CloseCode.NOT_AUTHENTICATED),
        (site.head(Authorization="Bearer x"), CloseCode.INVALID_TOKEN),
    ):
        with pytest.raises(AccessDenied) as raised:
            await site.guard.require_role(head, Role.ADMIN)
        assert raised.value.close_code is close_code
    open_site = Site(login=False)
    assert await open_site.guard.authenticate(open_site.head()) is ANONYMOUS_GRANT


def test_sessions_behind_a_trusted_proxy_are_counted_by_the_address_that_it_names() -> None:
    site = Site(MAX_CONNECTIONS_PER_ADDRESS="1")

    def slot(address: str) -> Any:
        return site.guard.reserve_slot(site.head(remote="10.0.0.1", X_Forwarded_For=address))

    first, second, other = slot("192.0.2.1"), slot("192.0.2.1"), slot("192.0.2.2")
    assert [one.within_limits for one in (first, second, other)] == [True, False, True]
    first.release()
    second.release()
    assert slot("192.0.2.1").within_limits
    direct = site.head()
    assert site.guard.reserve_slot(direct).within_limits
    direct.connection.within_limits = False
    assert not site.guard.reserve_slot(direct).within_limits


# ---------------------------------------------------------------- the middleware, where another server accepts connections


async def answer(request: web.Request) -> web.StreamResponse:
    assert request[REQUEST_HEAD].method == request.method
    return web.Response(text="answered")


def mocked_request(path: str = "/api/orders", **headers: str) -> web.Request:
    transport = _transport()
    return make_mocked_request(
        headers.pop("method", "GET"),
        path,
        {"Host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}},
        transport=transport,
    )


def _transport() -> Any:
    transport = mock.Mock()
    transport.get_extra_info.side_effect = lambda key: {"peername": ("127.0.0.1", 4711), "sslcontext": None}.get(key)
    return transport


async def test_a_request_is_counted_until_it_is_answered() -> None:
    site = Site()
    totals: list[int] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        totals.append(site.limiter._counter.total)
        return await answer(request)

    response = await site.guard.middleware(mocked_request(), handler)
    assert (response.status, totals, site.limiter._counter.total) == (200, [1], 0)


async def test_a_request_that_becomes_a_websocket_is_counted_until_its_connection_is_lost() -> None:
    site = Site()
    request = mocked_request("/api/ws")
    upgraded = _transport()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        site.guard.upgraded(request.transport, upgraded)
        return web.Response()

    await site.guard.middleware(request, handler)
    assert site.limiter._counter.total == 1
    site.guard.connection_lost(upgraded)
    assert site.limiter._counter.total == 0


async def test_a_websocket_on_the_transport_of_its_request_is_counted_until_the_end() -> None:
    site = Site()
    request = mocked_request("/api/ws")
    transport = request.transport
    assert transport is not None

    async def handler(_request: web.Request) -> web.StreamResponse:
        site.guard.upgraded(transport, transport)
        return web.Response()

    await site.guard.middleware(request, handler)
    assert site.limiter._counter.total == 1
    site.guard.connection_lost(transport)
    assert site.limiter._counter.total == 0


async def test_far_beyond_the_limit_not_even_a_websocket_goes_on() -> None:
    site = Site(MAX_CONNECTIONS="1")
    for _ in range(1 + MAX_REJECTED_PENDING):
        site.limiter._counter.add("192.0.2.1")
    response = await site.guard.middleware(mocked_request("/api/ws"), answer)
    assert (response.status, response.keep_alive) == (429, False)
    assert site.rejections("connections") == 1
    assert site.limiter._counter.total == 1 + MAX_REJECTED_PENDING


async def test_a_denied_request_is_counted_as_a_rejection() -> None:
    site = Site()

    async def deny(_request: web.Request) -> web.StreamResponse:
        raise AccessDenied(CloseCode.NOT_PERMITTED, "not for the role viewer")

    response = await site.guard.middleware(mocked_request(), deny)
    assert (response.status, site.rejections("not_permitted")) == (403, 1)
    response = await site.guard.middleware(mocked_request(Origin="https://evil.example"), answer)
    assert (response.status, site.rejections("origin")) == (403, 1)


async def test_a_preflight_request_is_answered() -> None:
    headers = {"Origin": "https://shop.example", "Access_Control_Request_Method": "GET", "method": "OPTIONS"}
    response = await Site().guard.middleware(mocked_request(**headers), answer)
    assert (response.status, response.headers["Access-Control-Allow-Methods"]) == (204, "GET, HEAD, PATCH, POST")


@pytest.mark.parametrize(
    ("path", "origin", "policy", "allowed"),
    [
        ("/api/orders", "https://shop.example", "cross-origin", "https://shop.example"),
        ("/api/orders", "https://evil.example", "same-origin", None),
        ("/metrics", "https://shop.example", "cross-origin", "https://shop.example"),
        ("/client/orderwire.js", "https://evil.example", "cross-origin", None),
        ("/admin/dashboard", "https://shop.example", "same-origin", None),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/orderwire"])
async def test_every_response_has_the_headers_that_keep_other_sites_out(
    path: str, origin: str, policy: str, allowed: str | None, prefix: str
) -> None:
    site = Site()
    site.guard.mount_prefix = prefix
    response = web.Response()
    await site.guard.add_headers(mocked_request(prefix + path, Origin=origin), response)
    assert response.headers["Server"] == "Orderwire"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Cross-Origin-Resource-Policy"] == policy
    assert response.headers.get("Access-Control-Allow-Origin") == allowed
