"""Every route × every credential × every origin: which requests are allowed, and how the others are rejected."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
import pytest
from yarl import URL

from gateway.routes import routes
from tests.gateway.conftest import App, StartApp, StartTarget, Target
from tests.helpers.tokens import ED25519, OTHER_RSA, P256, RSA, SECRET, hs256_token, public_pem, token, unsigned_token
from tests.support import TIMEOUT_SECONDS, Connect, Server, StartServer, within

AUDIENCE = "orderwire"
ALLOWED = "https://shop.example"


class Credential(NamedTuple):
    """``show``: makes the token for a key and its algorithm. ``outcome``: the role, or the close code of the rejection."""

    name: str
    show: Callable[[Any, str], str | None]
    outcome: str | int


def _good(role: str, **claims: Any) -> Callable[[Any, str], str]:
    return lambda key, algorithm: token(role, key=key, algorithm=algorithm, aud=AUDIENCE, **claims)


def _confused(key: Any, algorithm: str) -> str:
    """Signed by HS256 with the public key as its secret; where HS256 is used, the header names another algorithm."""
    claims = {"role": "admin", "aud": AUDIENCE, "exp": int(time.time()) + 600}
    if algorithm == "HS256":
        return hs256_token({"alg": "RS256", "typ": "JWT"}, claims, key.encode())
    return hs256_token({"alg": "HS256", "typ": "JWT"}, claims, public_pem(key).encode())


def _wrong_key(key: Any, algorithm: str) -> str:
    return token(key=OTHER_RSA if algorithm == "RS256" else "x" * 40, algorithm=algorithm, aud=AUDIENCE)


def _tampered(key: Any, algorithm: str) -> str:
    """A viewer's token with an admin's claims under the viewer's signature."""
    header, _, signature = token("viewer", key=key, algorithm=algorithm, aud=AUDIENCE).split(".")
    return ".".join((header, token("admin", key=key, algorithm=algorithm, aud=AUDIENCE).split(".")[1], signature))


CREDENTIALS = [
    Credential("none", lambda key, algorithm: None, 3502),
    Credential("admin", _good("admin"), "admin"),
    Credential("viewer", _good("viewer"), "viewer"),
    Credential("customer", _good("customer", sub="user-1"), "customer"),
    Credential(
        "in a list of audiences", lambda key, algorithm: token(key=key, algorithm=algorithm, aud=["other", AUDIENCE]), "admin"
    ),
    Credential("expired", _good("admin", ttl=-1), 3005),
    Credential("not yet", _good("admin", nbf=int(time.time()) + 3600), 3500),
    Credential("issued in the future", _good("admin", iat=int(time.time()) + 3600), 3500),
    Credential("never expires", _good("admin", exp=None), 3500),
    Credential("wrong key", _wrong_key, 3500),
    Credential("alg none", lambda key, algorithm: unsigned_token(aud=AUDIENCE), 3500),
    Credential("confused algorithms", _confused, 3500),
    Credential("tampered with", _tampered, 3500),
    Credential("wrong audience", lambda key, algorithm: token(key=key, algorithm=algorithm, aud="other"), 3500),
    Credential("no audience", lambda key, algorithm: token(key=key, algorithm=algorithm), 3500),
    Credential("foreign role", _good("owner"), 3507),
    Credential("no role", lambda key, algorithm: token(None, key=key, algorithm=algorithm, aud=AUDIENCE), 3507),
    Credential("customer of nothing", _good("customer"), 3507),
    Credential("odd orders", _good("customer", orders=[""]), 3500),
    Credential("order beyond bigint", _good("customer", orders=[2**63]), 3500),
    Credential("subject with NUL", _good("customer", sub="a\0b"), 3500),
    Credential("garbage", lambda key, algorithm: "garbage", 3500),
    Credential("garbage in three parts", lambda key, algorithm: "a.b.c", 3500),
    Credential("empty", lambda key, algorithm: "", 3500),
]

# Close code → HTTP status.
STATUS = {3005: 401, 3500: 401, 3502: 401, 3507: 403}

# Path → roles that may use it.
GUARDED = {
    "/api/sse": {"admin", "viewer", "customer"},
    "/api/events": {"admin", "customer"},
    "/api/orders": {"admin", "customer"},
    "/api/orders.csv": {"admin", "customer"},
    "/api/orders/{key}": {"admin", "customer"},
    "/api/orders/{key}/events": {"admin", "customer"},
    "/api/meta": {"admin", "viewer", "customer"},
    "/api/analytics": {"admin", "viewer"},
    "/api/series": {"admin", "viewer"},
    "/metrics": {"admin", "viewer"},
}
# The same of requests that change something. Every role reaches the handler, which has the reason in its answer.
CHANGES = {("PATCH", "/api/orders/{key}"): {"admin"}, ("POST", "/api/test-order"): {"admin"}}
PUBLIC = {
    "/",
    "/admin/dashboard",
    "/admin/dashboard/{view}",
    "/admin/dashboard/orders/{key}",
    "/openapi.json",
    "/asyncapi.json",
    "/healthz",
    "/readyz",
}
# Static files.
FILES = {"/admin/assets/{name}", "/admin/{name}", "/client/{name}", "/api/docs"}

ORIGINS = {
    None: True,
    "same": True,
    ALLOWED: True,
    "https://evil.example": False,
    "http://shop.example": False,  # another scheme
    "https://shop.example:8443": False,  # another port
    "https://shop.example.evil.example": False,
    "null": False,
}


def test_every_route_is_on_one_of_the_lists() -> None:
    read = {route.path for route in routes if route.method == "GET"}
    assert read == {*GUARDED, *PUBLIC, *FILES, "/api/ws"}
    assert {(route.method, route.path) for route in routes if route.method != "GET"} == set(CHANGES)


def _headers(app: App | Server, origin: str | None) -> dict[str, str]:
    return {} if origin is None else {"Origin": app.http_url if origin == "same" else origin}


async def over_http(
    http: aiohttp.ClientSession, app: App, path: str, shown: str | None, origin: str | None, method: str = "GET"
) -> int:
    """The status. Checks the headers, and the body of an error. A request that changes something is malformed."""
    headers = _headers(app, origin)
    if shown is not None:
        headers["Authorization"] = f"Bearer {shown}"
    async with http.request(method, app.http_url + path, headers=headers, json=None if method == "GET" else []) as response:
        for name, value in {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Server": "Orderwire"}.items():
            assert response.headers[name] == value
        assert response.headers.get("Access-Control-Allow-Origin") == (ALLOWED if origin == ALLOWED else None)
        assert response.headers["Vary"] == "Origin"
        if response.status != 200:
            error = (await response.json())["error"]
            assert set(error) - {"reason"} == {"code", "message"}
            assert (response.status == 401) == ("WWW-Authenticate" in response.headers)
        return response.status


async def over_websocket(
    http: aiohttp.ClientSession, app: Target, how: str, shown: str | None, origin: str | None, host: str | None = None
) -> int | str:
    """The status of a failed handshake, else the close code, else the type of the first message."""
    headers, protocols = _headers(app, origin), []
    if host is not None:
        headers["Host"] = host
    if shown is not None and how == "header":
        headers["Authorization"] = f"Bearer {shown}"
    if shown is not None and how == "subprotocol":
        protocols = ["orderwire", f"bearer.{shown}"]
    try:
        ws = await http.ws_connect(app.ws_url, headers=headers, protocols=protocols)
    except aiohttp.WSServerHandshakeError as error:
        return error.status
    async with ws:
        assert ws.protocol == ("orderwire" if protocols else None)
        if shown is not None and how == "message":
            await ws.send_str(json.dumps({"type": "auth", "token": shown}))
        message = await within(TIMEOUT_SECONDS, ws.receive(), "a message or the end")
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(json.loads(message.data)["type"])
        assert ws.close_code is not None
        return ws.close_code


FIRST_MESSAGE = {"admin": "analytics_update", "viewer": "analytics_update", "customer": "subscribed"}


def expected_of_websocket(credential: Credential, allowed: bool) -> int | str:
    """What ``over_websocket`` returns. ``allowed``: whether the origin is."""
    if not allowed:
        return 3507
    return credential.outcome if isinstance(credential.outcome, int) else FIRST_MESSAGE[credential.outcome]


@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
async def test_every_route_for_every_credential_and_origin(start_app: StartApp, db: Any, algorithm: str) -> None:
    await db.execute("insert into orders (customer_name, customer_id, total) values ('Anna', 'user-1', 1)")
    key: Any = SECRET if algorithm == "HS256" else RSA
    setting = {"JWT_SECRET": SECRET} if algorithm == "HS256" else {"JWT_PUBLIC_KEY": public_pem(RSA)}
    app = await start_app(
        JWT_AUDIENCE=AUDIENCE,
        ALLOWED_ORIGINS=ALLOWED,
        AUTH_SECONDS=str(TIMEOUT_SECONDS),
        HANDSHAKES_PER_SECOND="100000",
        **setting,
    )
    impatient = await start_app(ALLOWED_ORIGINS=ALLOWED, AUTH_SECONDS="0.1", HANDSHAKES_PER_SECOND="100000", **setting)
    cells = 0
    async with aiohttp.ClientSession() as http:
        for credential in CREDENTIALS:
            for origin, allowed in ORIGINS.items():
                shown = credential.show(key, algorithm)
                where = f"{credential.name} from {origin}"
                for path, roles in GUARDED.items():
                    if not allowed:
                        expected = 403
                    elif isinstance(credential.outcome, int):
                        expected = STATUS[credential.outcome]
                    else:
                        expected = 200 if credential.outcome in roles else 403
                    assert await over_http(http, app, path.format(key=1), shown, origin) == expected, f"{path}: {where}"
                    cells += 1
                for (method, path), roles in CHANGES.items():
                    if not allowed:
                        expected = 403
                    elif isinstance(credential.outcome, int):
                        expected = STATUS[credential.outcome]
                    else:
                        expected = 400 if credential.outcome in roles else 403
                    found = await over_http(http, app, path.format(key=1), shown, origin, method)
                    assert found == expected, f"{method} {path}: {where}"
                    cells += 1
                for how in ("header", "subprotocol", "message"):
                    wanted = expected_of_websocket(credential, allowed)
                    # Only where no token comes does the server wait for its end.
                    asked = impatient if shown is None else app
                    assert await over_websocket(http, asked, how, shown, origin) == wanted, f"WebSocket by {how}: {where}"
                    cells += 1
                for path in PUBLIC if allowed else ("/healthz", "/readyz"):
                    url = app.http_url + path.format(view="board", key=1)
                    async with http.get(url, headers=_headers(app, origin)) as response:
                        assert response.status == 200, f"{path}: {where}"
                    cells += 1
    assert cells > 1500
    assert SECRET not in app.log.text
    assert "eyJ" not in app.log.text


async def test_every_websocket_handshake_of_a_server_process(start_server: StartServer, database_url: str) -> None:
    """A server process reads WebSocket handshakes itself (gateway/inbound.py)."""
    server: Server = await start_server(
        database_url,
        JWT_AUDIENCE=AUDIENCE,
        ALLOWED_ORIGINS=ALLOWED,
        AUTH_SECONDS=str(TIMEOUT_SECONDS),
        HANDSHAKES_PER_SECOND="100000",
        JWT_SECRET=SECRET,
    )
    impatient: Server = await start_server(
        database_url, ALLOWED_ORIGINS=ALLOWED, AUTH_SECONDS="0.1", HANDSHAKES_PER_SECOND="100000", JWT_SECRET=SECRET
    )
    async with aiohttp.ClientSession() as http:
        for credential in CREDENTIALS:
            for origin, allowed in ORIGINS.items():
                for how in ("header", "subprotocol", "message"):
                    shown = credential.show(SECRET, "HS256")
                    found = await over_websocket(http, impatient if shown is None else server, how, shown, origin)
                    assert found == expected_of_websocket(credential, allowed), f"{credential.name} by {how} from {origin}"
    assert SECRET not in server.output
    assert "eyJ" not in server.output


@pytest.mark.parametrize(("key", "algorithm"), [(P256, "ES256"), (ED25519, "EdDSA")])
async def test_tokens_signed_with_other_types_of_keys(start_app: StartApp, key: Any, algorithm: str) -> None:
    app = await start_app(JWT_PUBLIC_KEY=public_pem(key).replace("\n", "\\n"))
    async with aiohttp.ClientSession() as http:
        good = token(key=key, algorithm=algorithm)
        assert await over_http(http, app, "/api/orders", good, None) == 200
        assert await over_http(http, app, "/api/orders", token(), None) == 401


async def test_a_token_in_the_query_is_ignored(start_app: StartApp) -> None:
    app = await start_app(JWT_SECRET=SECRET)
    async with aiohttp.ClientSession() as http:
        for name in ("token", "access_token", "bearer", "jwt"):
            assert await over_http(http, app, f"/api/orders?{name}={token()}", None, None) == 401
    assert "eyJ" not in app.log.text


async def test_the_token_is_chosen_when_it_is_the_only_subprotocol_offered(start_app: StartApp) -> None:
    """A browser fails the connection when it has offered subprotocols and none is chosen."""
    app = await start_app(JWT_SECRET=SECRET)
    shown = f"bearer.{token()}"
    async with aiohttp.ClientSession() as http, http.ws_connect(app.ws_url, protocols=[shown]) as ws:
        assert ws.protocol == shown
        assert json.loads((await ws.receive()).data)["type"] == "analytics_update"


async def test_preflight_requests_are_answered_for_allowed_origins_only(start_app: StartApp) -> None:
    app = await start_app(JWT_SECRET=SECRET, ALLOWED_ORIGINS=ALLOWED)
    read = [("GET", path) for path in (*GUARDED, "/api/ws")]
    async with aiohttp.ClientSession() as http:
        for method, path in (*read, *CHANGES):
            asked = {
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "authorization" if method == "GET" else "authorization,content-type",
            }
            async with http.options(app.http_url + path, headers={"Origin": ALLOWED, **asked}) as response:
                assert response.status == 204, path
                assert method in response.headers["Access-Control-Allow-Methods"].split(", ")
                assert "content-type" in response.headers["Access-Control-Allow-Headers"].lower()
                assert response.headers["Access-Control-Allow-Origin"] == ALLOWED
                assert "authorization" in response.headers["Access-Control-Allow-Headers"].lower()
                assert "last-event-id" in response.headers["Access-Control-Allow-Headers"].lower()
            async with http.options(app.http_url + path, headers={"Origin": "https://evil.example", **asked}) as response:
                assert response.status == 403, path
                assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_dashboard_has_a_strict_content_security_policy(start_app: StartApp) -> None:
    app = await start_app()
    async with aiohttp.ClientSession() as http, http.get(app.http_url + "/admin/dashboard") as response:
        policy = response.headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    assert "*" not in policy


# ---------------------------------------------------------------- without login


async def status_of(app: App, path: str, host: str | None = None, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http:
        sent = {**({"Host": host} if host else {}), **headers}
        async with http.get(URL(app.http_url + path), headers=sent) as response:
            return response.status, await response.text()


async def test_without_login_only_requests_from_this_machine_are_allowed(start_app: StartApp) -> None:
    app = await start_app(HOST="0.0.0.0")
    assert (await status_of(app, "/api/orders"))[0] == 200
    # DNS rebinding: the browser takes a page of evil.example for the same origin.
    status, text = await status_of(app, "/api/orders", host="evil.example:8000", Origin="http://evil.example:8000")
    assert status == 403
    assert "ALLOWED_HOSTS" in text
    for host in ("localhost:1", "LOCALHOST.", "127.0.0.1", "[::1]:8000", "127.0.0.2", socket.gethostname(), "192.168.0.1:8000"):
        assert (await status_of(app, "/api/orders", host=host))[0] == 200, host
    for host in (
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1%evil.example"),
        *("127.0.0.1@evil.example", "localhost:evil", "localhost:65536", "[::1]evil", "::1"),
    ):
        assert (await status_of(app, "/api/orders", host=host))[0] == 403, host
    assert (await status_of(app, "/healthz", host="evil.example"))[0] == 200


# Headers of proxies, load balancers and tunnels. An empty one tells of a proxy too.
FORWARDED = (
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server", "Forwarded"),
    *("X-Real-IP", "Via", "CF-Connecting-IP", "CF-Ray", "True-Client-IP", "X-Client-IP", "Fly-Client-IP", "X-Original-Host"),
)


@pytest.mark.parametrize("value", ["203.0.113.5", "127.0.0.1", ""])
async def test_without_login_a_request_that_an_unknown_proxy_forwarded_is_rejected(start_app: StartApp, value: str) -> None:
    """Its client may be on another machine."""
    app = await start_app()
    for header in FORWARDED:
        status, text = await status_of(app, "/api/orders", **{header: value})
        assert (status, "TRUSTED_PROXIES" in text) == (403, True), header


async def test_without_login_http_1_0_is_taken_for_a_proxy(start_app: StartApp) -> None:
    """nginx speaks it unless it is told otherwise, and adds no header."""
    app = await start_app()

    async def status_line(version: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*app.address)
        writer.write(b"GET /api/orders HTTP/" + version + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        line = await within(TIMEOUT_SECONDS, reader.readline(), "a status line")
        writer.close()
        return line.split()[1]

    assert [await status_line(b"1.1"), await status_line(b"1.0")] == [b"200", b"403"]


async def test_a_trusted_proxy_names_the_clients_address(start_app: StartApp) -> None:
    app = await start_app(TRUSTED_PROXIES="127.0.0.0/8")
    assert (await status_of(app, "/api/orders", **{"X-Forwarded-For": "203.0.113.5"}))[0] == 403
    assert (await status_of(app, "/api/orders", **{"X-Forwarded-For": "127.0.0.1, 203.0.113.5"}))[0] == 403
    assert (await status_of(app, "/api/orders", **{"X-Forwarded-For": "203.0.113.5, ::1"}))[0] == 200
    # Without an address that can be used the client may be anywhere.
    for value in ("", " , ", "unknown", "_hidden", "127.0.0.1:x", "127.0.0.1%1"):
        status, text = await status_of(app, "/api/orders", **{"X-Forwarded-For": value})
        assert (status, "X-Forwarded-For" in text) == (403, True), value
    status, text = await status_of(app, "/api/orders")
    assert (status, "X-Forwarded-For" in text) == (403, True)


async def test_allow_anonymous_allows_requests_from_other_machines(start_app: StartApp) -> None:
    app = await start_app(ALLOW_ANONYMOUS="1")
    assert (await status_of(app, "/api/orders", **{"X-Forwarded-For": "203.0.113.5"}))[0] == 200
    # Pages of other origins are still rejected.
    assert (await status_of(app, "/api/orders", Origin="https://evil.example"))[0] == 403


async def test_where_there_is_no_login_only_allowed_hosts_are_answered(start_target: StartTarget) -> None:
    """A page of another name may use DNS rebinding. Over HTTP, SSE, and WebSockets that either parser reads."""
    target = await start_target(ALLOW_ANONYMOUS="1", ALLOWED_HOSTS="shop.example,.internal.example")
    async with aiohttp.ClientSession() as http:
        for host, allowed in (
            *(("shop.example", True), ("SHOP.example.:8000", True), ("a.b.internal.example", True), ("10.0.0.1:80", True)),
            *(("[2001:db8::1]:8000", True), ("localhost", True), (socket.gethostname(), True)),
            *(("evil.example", False), ("shop.example.evil.example", False), ("xshop.example", False)),
            *(("www.shop.example", False), ("internal.example", False), ("shop.example@evil.example", False)),
        ):
            for path in ("/api/orders", "/api/sse", "/metrics", "/admin/dashboard"):
                async with http.get(target.http_url + path, headers={"Host": host}) as response:
                    assert response.status == (200 if allowed else 403), f"{path} of {host}"
                    if not allowed:
                        assert "ALLOWED_HOSTS" in await response.text()
            # A program is told by the status, a page by the close code: it cannot read the status.
            for origin, rejected in ((None, 403), (f"http://{host.lower().removesuffix(':80')}", 3507)):
                expected = "analytics_update" if allowed else rejected
                assert await over_websocket(http, target, "", None, origin, host) == expected, f"{host} from {origin}"


async def test_with_login_every_host_is_answered(start_app: StartApp) -> None:
    app = await start_app(JWT_SECRET=SECRET)
    assert (await status_of(app, "/api/orders", host="shop.example", Authorization=f"Bearer {token()}"))[0] == 200


async def test_behind_a_trusted_proxy_the_forwarded_host_must_be_allowed_too(start_app: StartApp) -> None:
    app = await start_app(ALLOW_ANONYMOUS="1", TRUSTED_PROXIES="127.0.0.1", ALLOWED_HOSTS="shop.example")
    for host, status in (("shop.example", 200), ("evil.example", 403), ("shop.example, evil.example", 403)):
        forwarded = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Host": host}
        assert (await status_of(app, "/api/orders", **forwarded))[0] == status, host
    # Some proxies pass the page's own header on.
    spoofed = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Host": "shop.example"}
    assert (await status_of(app, "/api/orders", host="evil.example", **spoofed))[0] == 403


async def test_behind_a_trusted_proxy_the_forwarded_origin_is_the_same_origin(start_app: StartApp) -> None:
    app = await start_app(JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1")
    outer = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}
    shown = {"Authorization": f"Bearer {token()}"}
    assert (await status_of(app, "/api/orders", Origin="https://shop.example", **outer, **shown))[0] == 200
    assert (await status_of(app, "/api/orders", Origin="http://shop.example", **outer, **shown))[0] == 403


async def test_a_websocket_without_a_token_is_closed_after_auth_seconds(start_app: StartApp, connect: Connect, db: Any) -> None:
    app = await start_app(JWT_SECRET=SECRET, AUTH_SECONDS="0.5")
    start = asyncio.get_running_loop().time()
    silent = await connect(app.ws_url)
    talking = await connect(app.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await talking.send('{"type":"subscribe","topics":["orders"]}')
    await talking.send('{"type":"ping"}')
    assert await silent.wait_closed() == 3502
    assert await talking.wait_closed() == 3502
    assert asyncio.get_running_loop().time() - start >= 0.45
    assert silent.messages == []
    assert [frame["type"] for frame in talking.messages] == ["error", "pong"]
    assert talking.messages[0]["code"] == "not_authenticated"
