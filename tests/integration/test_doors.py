"""Every door × every credential × every origin: who gets in, and what the others are told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
import pytest
from yarl import URL

from gateway.routes import routes
from tests.support import TIMEOUT_SECONDS, Connect, Server, StartServer, within
from tests.tokens import ED25519, OTHER_RSA, P256, RSA, SECRET, hs256_token, public_pem, token, unsigned_token

AUDIENCE = "orderwire"
ALLOWED = "https://shop.example"


class Credential(NamedTuple):
    """What is shown, and what comes of it: the role, or the close code of the refusal."""

    name: str
    show: Callable[[Any, str], str | None]
    outcome: str | int


def _good(role: str, **claims: Any) -> Callable[[Any, str], str]:
    return lambda key, algorithm: token(role, key=key, algorithm=algorithm, aud=AUDIENCE, **claims)


def _confused(key: Any, algorithm: str) -> str:
    """The public key, which everybody has, taken for a secret; where there is none, another algorithm in the header."""
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
    Credential("odd orders", _good("customer", orders=["1"]), 3500),
    Credential("order beyond bigint", _good("customer", orders=[2**63]), 3500),
    Credential("subject with NUL", _good("customer", sub="a\0b"), 3500),
    Credential("garbage", lambda key, algorithm: "garbage", 3500),
    Credential("garbage in three parts", lambda key, algorithm: "a.b.c", 3500),
    Credential("empty", lambda key, algorithm: "", 3500),
]

# HTTP says it by status: close code → status.
STATUS = {3005: 401, 3500: 401, 3502: 401, 3507: 403}

# Path → roles that get in.
GUARDED = {
    "/api/sse": {"admin", "viewer", "customer"},
    "/api/events": {"admin", "customer"},
    "/api/orders": {"admin", "customer"},
    "/api/analytics": {"admin", "viewer"},
    "/metrics": {"admin", "viewer"},
}
PUBLIC = {"/", "/admin/dashboard", "/healthz", "/readyz"}
# Code, which every page may load.
FILES = {"/admin/assets/{name}", "/client/{name}"}

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
    assert {route.path for route in routes} == {*GUARDED, *PUBLIC, *FILES, "/api/ws"}


def _headers(server: Server, origin: str | None) -> dict[str, str]:
    return {} if origin is None else {"Origin": server.http_url if origin == "same" else origin}


async def over_http(http: aiohttp.ClientSession, server: Server, path: str, shown: str | None, origin: str | None) -> int:
    """The status; with the form of the answer checked."""
    headers = _headers(server, origin)
    if shown is not None:
        headers["Authorization"] = f"Bearer {shown}"
    async with http.get(server.http_url + path, headers=headers) as response:
        for name, value in {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Server": "Orderwire"}.items():
            assert response.headers[name] == value
        assert response.headers.get("Access-Control-Allow-Origin") == (ALLOWED if origin == ALLOWED else None)
        assert response.headers["Vary"] == "Origin"
        if response.status != 200:
            error = (await response.json())["error"]
            assert set(error) == {"code", "message"}
            assert (response.status == 401) == ("WWW-Authenticate" in response.headers)
        return response.status


async def over_websocket(
    http: aiohttp.ClientSession, server: Server, how: str, shown: str | None, origin: str | None
) -> int | str:
    """The status that refused the handshake, or the close code, or what the first frame was."""
    headers, protocols = _headers(server, origin), []
    if shown is not None and how == "header":
        headers["Authorization"] = f"Bearer {shown}"
    if shown is not None and how == "subprotocol":
        protocols = ["orderwire", f"bearer.{shown}"]
    try:
        ws = await http.ws_connect(server.ws_url, headers=headers, protocols=protocols)
    except aiohttp.WSServerHandshakeError as error:
        return error.status
    async with ws:
        assert ws.protocol == ("orderwire" if protocols else None)
        if shown is not None and how == "frame":
            await ws.send_str(json.dumps({"type": "auth", "token": shown}))
        message = await within(TIMEOUT_SECONDS, ws.receive(), "a frame or the end")
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(json.loads(message.data)["type"])
        assert ws.close_code is not None
        return ws.close_code


FIRST_FRAME = {"admin": "analytics_update", "viewer": "analytics_update", "customer": "subscribed"}


@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
async def test_every_door_for_every_credential_and_origin(start_server: StartServer, database_url: str, algorithm: str) -> None:
    key: Any = SECRET if algorithm == "HS256" else RSA
    setting = {"JWT_SECRET": SECRET} if algorithm == "HS256" else {"JWT_PUBLIC_KEY": public_pem(RSA)}
    server: Server = await start_server(
        database_url,
        JWT_AUDIENCE=AUDIENCE,
        ALLOWED_ORIGINS=ALLOWED,
        AUTH_SECONDS="0.1",
        HANDSHAKES_PER_SECOND="100000",
        **setting,
    )
    cells = 0
    async with aiohttp.ClientSession() as http:
        for credential in CREDENTIALS:
            for origin, let_in in ORIGINS.items():
                shown = credential.show(key, algorithm)
                where = f"{credential.name} from {origin}"
                for path, roles in GUARDED.items():
                    if not let_in:
                        expected = 403
                    elif isinstance(credential.outcome, int):
                        expected = STATUS[credential.outcome]
                    else:
                        expected = 200 if credential.outcome in roles else 403
                    assert await over_http(http, server, path, shown, origin) == expected, f"{path}: {where}"
                    cells += 1
                for how in ("header", "subprotocol", "frame"):
                    wanted: int | str = credential.outcome
                    if not let_in:
                        wanted = 403
                    elif isinstance(wanted, str):
                        wanted = FIRST_FRAME[wanted]
                    assert await over_websocket(http, server, how, shown, origin) == wanted, f"WebSocket by {how}: {where}"
                    cells += 1
                for path in PUBLIC if let_in else ("/healthz", "/readyz"):
                    async with http.get(server.http_url + path, headers=_headers(server, origin)) as response:
                        assert response.status == 200, f"{path}: {where}"
                    cells += 1
    assert cells > 1500
    assert SECRET not in server.output
    assert "eyJ" not in server.output


@pytest.mark.parametrize(("key", "algorithm"), [(P256, "ES256"), (ED25519, "EdDSA")])
async def test_other_kinds_of_keys(start_server: StartServer, database_url: str, key: Any, algorithm: str) -> None:
    server: Server = await start_server(database_url, JWT_PUBLIC_KEY=public_pem(key).replace("\n", "\\n"))
    async with aiohttp.ClientSession() as http:
        good = token(key=key, algorithm=algorithm)
        assert await over_http(http, server, "/api/orders", good, None) == 200
        assert await over_http(http, server, "/api/orders", token(), None) == 401


async def test_a_token_in_the_query_is_no_token(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    async with aiohttp.ClientSession() as http:
        for name in ("token", "access_token", "bearer", "jwt"):
            assert await over_http(http, server, f"/api/orders?{name}={token()}", None, None) == 401
    assert "eyJ" not in server.output


async def test_a_browser_that_offers_only_the_token_gets_it_back(start_server: StartServer, database_url: str) -> None:
    """It gives up when it has offered subprotocols and none is chosen."""
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    shown = f"bearer.{token()}"
    async with aiohttp.ClientSession() as http, http.ws_connect(server.ws_url, protocols=[shown]) as ws:
        assert ws.protocol == shown
        assert json.loads((await ws.receive()).data)["type"] == "analytics_update"


async def test_preflight_is_answered_for_allowed_origins_alone(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, ALLOWED_ORIGINS=ALLOWED)
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    async with aiohttp.ClientSession() as http:
        for path in (*GUARDED, "/api/ws"):
            async with http.options(server.http_url + path, headers={"Origin": ALLOWED, **asked}) as response:
                assert response.status == 204, path
                assert response.headers["Access-Control-Allow-Origin"] == ALLOWED
                assert "authorization" in response.headers["Access-Control-Allow-Headers"].lower()
                assert "last-event-id" in response.headers["Access-Control-Allow-Headers"].lower()
            async with http.options(server.http_url + path, headers={"Origin": "https://evil.example", **asked}) as response:
                assert response.status == 403, path
                assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_page_has_a_policy_that_forbids_what_it_does_not_need(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    async with aiohttp.ClientSession() as http, http.get(server.http_url + "/admin/dashboard") as response:
        policy = response.headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    assert "*" not in policy


# ---------------------------------------------------------------- without login


async def status_of(server: Server, path: str, host: str | None = None, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http:
        sent = {**({"Host": host} if host else {}), **headers}
        async with http.get(URL(server.http_url + path), headers=sent) as response:
            return response.status, await response.text()


async def test_without_login_only_this_machine_gets_in(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, HOST="0.0.0.0")
    assert "only this machine" in await server.wait_for_line("login ")
    assert (await status_of(server, "/api/orders"))[0] == 200
    # Whoever comes through a proxy is somebody else, for all that we know.
    for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
        status, text = await status_of(server, "/api/orders", **{header: "203.0.113.5"})
        assert status == 403
        assert "TRUSTED_PROXIES" in text
    # A page that rebinds its own name to this machine is "same origin" to the browser.
    status, text = await status_of(server, "/api/orders", host="evil.example:8000", Origin="http://evil.example:8000")
    assert status == 403
    for host in ("localhost:1", "127.0.0.1", "[::1]:8000", "127.0.0.2"):
        assert (await status_of(server, "/api/orders", host=host))[0] == 200
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0"):
        assert (await status_of(server, "/api/orders", host=host))[0] == 403, host
    assert (await status_of(server, "/healthz", host="evil.example"))[0] == 200


async def test_a_trusted_proxy_says_who_it_is(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, TRUSTED_PROXIES="127.0.0.0/8")
    assert (await status_of(server, "/api/orders", **{"X-Forwarded-For": "203.0.113.5"}))[0] == 403
    assert (await status_of(server, "/api/orders", **{"X-Forwarded-For": "127.0.0.1, 203.0.113.5"}))[0] == 403
    assert (await status_of(server, "/api/orders", **{"X-Forwarded-For": "203.0.113.5, ::1"}))[0] == 200


async def test_allow_anonymous_lets_everybody_in_and_says_so(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, ALLOW_ANONYMOUS="1")
    assert "sees everything" in await server.wait_for_line("login ")
    assert (await status_of(server, "/api/orders", host="shop.example", **{"X-Forwarded-For": "203.0.113.5"}))[0] == 200
    # Pages of others still may not.
    assert (await status_of(server, "/api/orders", Origin="https://evil.example"))[0] == 403


async def test_behind_a_trusted_proxy_the_same_origin_is_the_outer_one(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1")
    outer = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}
    shown = {"Authorization": f"Bearer {token()}"}
    assert (await status_of(server, "/api/orders", Origin="https://shop.example", **outer, **shown))[0] == 200
    assert (await status_of(server, "/api/orders", Origin="http://shop.example", **outer, **shown))[0] == 403


async def test_a_websocket_without_a_token_has_only_so_long(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, AUTH_SECONDS="0.5")
    start = asyncio.get_running_loop().time()
    silent = await connect(server.ws_url)
    talking = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await talking.send('{"type":"subscribe","topics":["orders"]}')
    await talking.send('{"type":"ping"}')
    assert await silent.wait_closed() == 3502
    assert await talking.wait_closed() == 3502
    assert asyncio.get_running_loop().time() - start >= 0.45
    assert silent.messages == []
    assert [frame["type"] for frame in talking.messages] == ["error", "pong"]
    assert talking.messages[0]["code"] == "not_authenticated"
