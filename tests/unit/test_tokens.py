"""Keys: given, or fetched from an address that may be slow, wrong or away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from gateway.auth import jwks as keyset
from gateway.auth.jwks import RemoteKeySet, load_public_key
from gateway.auth.tokens import TokenVerifier
from push.protocol.access import AccessDenied, Role
from push.protocol.messages import CloseCode
from settings import BadSetting
from tests.tokens import ED25519, OTHER_RSA, P256, RSA, jwk, private_pem, public_pem, token


class KeySet:
    """The address of a key set, and how it answers."""

    def __init__(self) -> None:
        self.keys: list[Any] = [jwk(RSA, "RS256", "one")]
        self.asked = 0
        self.status = 200
        self.body: bytes | None = None
        self.hang = asyncio.Event()
        self.hang.set()
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        await self.hang.wait()
        headers = {"Location": self.url} if self.status == 302 else None
        return web.Response(status=self.status, body=self.body or json.dumps({"keys": self.keys}).encode(), headers=headers)


@pytest.fixture
async def key_set() -> AsyncIterator[KeySet]:
    served = KeySet()
    app = web.Application()
    app.router.add_get("/jwks", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    yield served
    served.hang.set()
    await runner.cleanup()


def signed(kid: str | None = "one", key: Any = RSA, algorithm: str = "RS256", **claims: Any) -> str:
    return token(key=key, algorithm=algorithm, kid=kid, **claims)


async def refusal(gate: TokenVerifier, shown: str) -> CloseCode:
    with pytest.raises(AccessDenied) as raised:
        await gate.verify(shown)
    return raised.value.close_code


async def test_keys_are_fetched_once_and_kept(key_set: KeySet) -> None:
    gate = TokenVerifier(RemoteKeySet(key_set.url))
    grants = await asyncio.gather(*(gate.verify(signed()) for _ in range(20)))
    assert {grant.role for grant in grants} == {Role.ADMIN}
    assert key_set.asked == 1
    assert (await gate.verify(signed(kid=None))).role is Role.ADMIN
    assert await refusal(gate, signed(key=OTHER_RSA)) is CloseCode.INVALID_TOKEN
    assert key_set.asked == 1


async def test_an_unknown_kid_leads_to_one_more_fetch_and_not_to_a_flood(
    key_set: KeySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = TokenVerifier(RemoteKeySet(key_set.url))
    await gate.verify(signed())
    # Within the cool-down nobody can make us ask again.
    for n in range(20):
        assert await refusal(gate, signed(kid=f"made up {n}")) is CloseCode.INVALID_TOKEN
    assert key_set.asked == 1
    monkeypatch.setattr(keyset, "COOLDOWN_SECONDS", 0.0)
    key_set.keys = [jwk(P256, "ES256", "two"), jwk(ED25519, "EdDSA", "three"), jwk(RSA, "RS256", "one")]
    assert (await gate.verify(signed("two", P256, "ES256"))).key_id == "two"
    assert (await gate.verify(signed("three", ED25519, "EdDSA"))).key_id == "three"
    assert key_set.asked == 2


async def test_a_key_that_has_gone_takes_its_grants_with_it(key_set: KeySet, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = asyncio.Event()
    keys = RemoteKeySet(key_set.url, changed.set)
    gate = TokenVerifier(keys)
    grant = await gate.verify(signed())
    assert gate.is_valid(grant)
    key_set.keys = [jwk(P256, "ES256", "two")]
    monkeypatch.setattr(keyset, "REFRESH_SECONDS", 0.01)
    task = asyncio.create_task(keys.run())
    async with asyncio.timeout(30):
        await changed.wait()
    task.cancel()
    assert not gate.is_valid(grant)
    assert await refusal(gate, signed()) is CloseCode.INVALID_TOKEN


async def test_an_address_that_hangs_is_waited_for_only_so_long(key_set: KeySet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyset, "FETCH_TIMEOUT_SECONDS", 0.2)
    key_set.hang.clear()
    gate = TokenVerifier(RemoteKeySet(key_set.url))
    start = time.monotonic()
    assert await refusal(gate, signed()) is CloseCode.UNAVAILABLE
    assert time.monotonic() - start < 20


async def test_keys_outlast_an_outage_but_not_for_ever(key_set: KeySet, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = TokenVerifier(RemoteKeySet(key_set.url))
    await gate.verify(signed())
    monkeypatch.setattr(keyset, "COOLDOWN_SECONDS", 0.0)
    key_set.status = 500
    assert (await gate.verify(signed())).role is Role.ADMIN
    assert await refusal(gate, signed("two", P256, "ES256")) is CloseCode.INVALID_TOKEN
    monkeypatch.setattr(keyset, "MAX_STALE_SECONDS", 0.0)
    assert await refusal(gate, signed()) is CloseCode.UNAVAILABLE


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b'{"keys":{}}', b"[" * 100_000, b'{"keys":[' + b" " * (1024**2) + b"]}", b"\xff"]
)
async def test_what_is_no_key_set_is_no_key_set(key_set: KeySet, body: bytes) -> None:
    key_set.body = body or b" "
    assert await refusal(TokenVerifier(RemoteKeySet(key_set.url)), signed()) is CloseCode.UNAVAILABLE


async def test_redirects_are_not_followed(key_set: KeySet) -> None:
    key_set.status = 302
    assert await refusal(TokenVerifier(RemoteKeySet(key_set.url)), signed()) is CloseCode.UNAVAILABLE
    assert key_set.asked == 1


async def test_unusable_entries_are_passed_over_and_secrets_never_taken(key_set: KeySet) -> None:
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
    gate = TokenVerifier(RemoteKeySet(key_set.url))
    assert (await gate.verify(signed())).role is Role.ADMIN
    assert await refusal(gate, token(key="x" * 32, kid="secret")) is CloseCode.INVALID_TOKEN
    assert await refusal(gate, signed("for encryption")) is CloseCode.INVALID_TOKEN


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("/no/such/file", "No such file"),
        ("-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----", "no public key in PEM form"),
        (private_pem(RSA), "no public key in PEM form"),
    ],
)
def test_a_public_key_that_is_none_is_said_in_one_line(setting: str, why: str) -> None:
    with pytest.raises(BadSetting, match=f"JWT_PUBLIC_KEY is not usable: {why}") as raised:
        load_public_key(setting)
    assert "\n" not in str(raised.value)
    assert "PRIVATE" not in str(raised.value)


def test_public_keys_are_pinned_to_their_algorithm(tmp_path: Any) -> None:
    for key, algorithm in ((RSA, "RS256"), (P256, "ES256"), (ED25519, "EdDSA")):
        assert load_public_key(public_pem(key)).algorithm_name == algorithm
    (tmp_path / "key.pem").write_text(public_pem(RSA))
    assert load_public_key(str(tmp_path / "key.pem")).algorithm_name == "RS256"
