"""gateway.auth.jwks: the key from the settings, and key sets whose address is slow, wrong or unreachable."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from gateway.auth import jwks
from gateway.auth.jwks import RemoteKeySet, load_public_key
from gateway.auth.tokens import TokenVerifier
from push.protocol.access import AccessDenied, Role
from push.protocol.messages import CloseCode
from settings import BadSetting
from tests.helpers.tokens import ED25519, OTHER_RSA, P256, RSA, jwk, private_pem, public_pem, token
from tests.support import TIMEOUT_SECONDS


class KeySet:
    """A server of a key set, and how it answers."""

    def __init__(self) -> None:
        self.keys: list[Any] = [jwk(RSA, "RS256", "one")]
        self.requests = 0
        self.status = 200
        self.body: bytes | None = None
        self.hang = asyncio.Event()
        self.hang.set()
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        self.requests += 1
        await self.hang.wait()
        headers = {"Location": self.url} if self.status == 302 else None
        return web.Response(status=self.status, body=self.body or json.dumps({"keys": self.keys}).encode(), headers=headers)


@pytest.fixture
async def key_set(aiohttp_server: AiohttpServer) -> AsyncIterator[KeySet]:
    served = KeySet()
    app = web.Application()
    app.router.add_get("/jwks", served.answer)
    served.url = str((await aiohttp_server(app)).make_url("/jwks"))
    yield served
    served.hang.set()


def signed(kid: str | None = "one", key: Any = RSA, algorithm: str = "RS256", **claims: Any) -> str:
    return token(key=key, algorithm=algorithm, kid=kid, **claims)


async def denied(verifier: TokenVerifier, sent: str) -> CloseCode:
    with pytest.raises(AccessDenied) as raised:
        await verifier.verify(sent)
    return raised.value.close_code


async def test_keys_are_fetched_once_and_cached(key_set: KeySet) -> None:
    verifier = TokenVerifier(RemoteKeySet(key_set.url))
    grants = await asyncio.gather(*(verifier.verify(signed()) for _ in range(20)))
    assert {grant.role for grant in grants} == {Role.ADMIN}
    assert key_set.requests == 1
    assert (await verifier.verify(signed(kid=None))).role is Role.ADMIN
    assert await denied(verifier, signed(key=OTHER_RSA)) is CloseCode.INVALID_TOKEN
    assert key_set.requests == 1


async def test_an_unknown_kid_leads_to_one_fetch_per_cooldown(key_set: KeySet, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = TokenVerifier(RemoteKeySet(key_set.url))
    await verifier.verify(signed())
    # During the cool-down no token leads to another fetch.
    for n in range(20):
        assert await denied(verifier, signed(kid=f"made up {n}")) is CloseCode.INVALID_TOKEN
    assert key_set.requests == 1
    monkeypatch.setattr(jwks, "COOLDOWN_SECONDS", 0.0)
    key_set.keys = [jwk(P256, "ES256", "two"), jwk(ED25519, "EdDSA", "three"), jwk(RSA, "RS256", "one")]
    assert (await verifier.verify(signed("two", P256, "ES256"))).key_id == "two"
    assert (await verifier.verify(signed("three", ED25519, "EdDSA"))).key_id == "three"
    assert key_set.requests == 2


async def test_grants_of_a_removed_key_become_invalid(key_set: KeySet, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = asyncio.Event()
    keys = RemoteKeySet(key_set.url, changed.set)
    verifier = TokenVerifier(keys)
    grant = await verifier.verify(signed())
    assert verifier.is_valid(grant)
    key_set.keys = [jwk(P256, "ES256", "two")]
    monkeypatch.setattr(jwks, "REFRESH_SECONDS", 0.01)
    task = asyncio.create_task(keys.run())
    async with asyncio.timeout(30):
        await changed.wait()
    task.cancel()
    assert not verifier.is_valid(grant)
    assert await denied(verifier, signed()) is CloseCode.INVALID_TOKEN


async def test_a_fetch_times_out(key_set: KeySet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT_SECONDS", 0.2)
    key_set.hang.clear()
    verifier = TokenVerifier(RemoteKeySet(key_set.url))
    start = time.monotonic()
    assert await denied(verifier, signed()) is CloseCode.UNAVAILABLE
    assert time.monotonic() - start < 20


async def test_cached_keys_stay_valid_during_an_outage_up_to_max_stale_seconds(
    key_set: KeySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = TokenVerifier(RemoteKeySet(key_set.url))
    await verifier.verify(signed())
    monkeypatch.setattr(jwks, "COOLDOWN_SECONDS", 0.0)
    key_set.status = 500
    assert (await verifier.verify(signed())).role is Role.ADMIN
    assert await denied(verifier, signed("two", P256, "ES256")) is CloseCode.INVALID_TOKEN
    monkeypatch.setattr(jwks, "MAX_STALE_SECONDS", 0.0)
    assert await denied(verifier, signed()) is CloseCode.UNAVAILABLE


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b'{"keys":{}}', b"[" * 100_000, b'{"keys":[' + b" " * (1024**2) + b"]}", b"\xff"]
)
async def test_a_body_that_is_no_key_set_is_rejected(key_set: KeySet, body: bytes) -> None:
    key_set.body = body or b" "
    assert await denied(TokenVerifier(RemoteKeySet(key_set.url)), signed()) is CloseCode.UNAVAILABLE


async def test_tokens_do_not_lead_to_a_fetch_each_while_the_keys_cannot_be_had(
    key_set: KeySet, caplog: pytest.LogCaptureFixture
) -> None:
    """From the start, or since MAX_STALE_SECONDS: who sends tokens does not choose how often the key set is asked for."""
    key_set.status = 503
    verifier = TokenVerifier(RemoteKeySet(key_set.url))
    for _ in range(20):
        assert await denied(verifier, signed()) is CloseCode.UNAVAILABLE
    assert key_set.requests == 1
    assert len(caplog.messages) == 1


async def test_failed_fetches_are_repeated_soon_and_logged_once(
    key_set: KeySet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jwks, "MAX_RETRY_SECONDS", 0.01)
    key_set.status = 503
    keys = RemoteKeySet(key_set.url)
    verifier = TokenVerifier(keys)
    task = asyncio.create_task(keys.run())
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while key_set.requests < 5:
            await asyncio.sleep(0.01)
        assert len(caplog.messages) == 1
        key_set.status = 200
        while not keys.has_key("one"):
            await asyncio.sleep(0.01)
    assert (await verifier.verify(signed())).role is Role.ADMIN
    task.cancel()
    await asyncio.wait([task])


async def test_redirects_are_not_followed(key_set: KeySet) -> None:
    key_set.status = 302
    assert await denied(TokenVerifier(RemoteKeySet(key_set.url)), signed()) is CloseCode.UNAVAILABLE
    assert key_set.requests == 1


async def test_unusable_entries_are_skipped_and_symmetric_keys_never_used(key_set: KeySet) -> None:
    secret = {"kty": "oct", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg", "kid": "secret", "alg": "HS256"}
    key_set.keys = [
        None,
        7,
        {},
        {"kty": "RSA"},
        {"kty": ["RSA"]},
        secret,
        jwk(RSA, "RS256", "for encryption", use="enc"),
        *key_set.keys,
    ]
    verifier = TokenVerifier(RemoteKeySet(key_set.url))
    assert (await verifier.verify(signed())).role is Role.ADMIN
    assert await denied(verifier, token(key="x" * 32, kid="secret")) is CloseCode.INVALID_TOKEN
    assert await denied(verifier, signed("for encryption")) is CloseCode.INVALID_TOKEN


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("/no/such/file", "No such file"),
        ("-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----", "no public key in PEM form"),
        (private_pem(RSA), "no public key in PEM form"),
    ],
)
def test_an_unusable_public_key_is_reported_in_one_line(setting: str, reason: str) -> None:
    with pytest.raises(BadSetting, match=f"JWT_PUBLIC_KEY is not usable: {reason}") as raised:
        load_public_key(setting)
    assert "\n" not in str(raised.value)
    assert "PRIVATE" not in str(raised.value)


def test_public_keys_are_pinned_to_their_algorithm(tmp_path: Any) -> None:
    for key, algorithm in ((RSA, "RS256"), (P256, "ES256"), (ED25519, "EdDSA")):
        assert load_public_key(public_pem(key)).algorithm_name == algorithm
    (tmp_path / "key.pem").write_text(public_pem(RSA))
    assert load_public_key(str(tmp_path / "key.pem")).algorithm_name == "RS256"
