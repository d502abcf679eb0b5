"""gateway.auth.jwks: the key from the settings, and key sets whose address is slow, wrong or unreachable."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from pytest_aiohttp import AiohttpServer

from gateway.auth import jwks
from gateway.auth.jwks import RemoteKeySet, VerificationKey, _parse_key_set, load_public_key
from gateway.auth.tokens import TokenVerifier
from push.protocol.access import AccessDenied, Role
from push.protocol.messages import CloseCode
from settings import BadSetting
from tests.helpers.strategies import JSON
from tests.helpers.tokens import ED25519, OTHER_RSA, P256, P384, RSA, SMALL_RSA, jwk, private_pem, public_pem, token
from tests.support import TIMEOUT_SECONDS

# Each JSON type, and texts, numbers and structures that a member may have by mistake.
SURPRISES: list[Any] = [None, True, 0, -1, 1.5, 2**70, "", "x", "\0", "\ud800", "é", [], ["x"], [["x"]], {}, {"a": {}}]


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
    assert (await verifier.verify(signed("two", P256, "ES256"))).role is Role.ADMIN
    assert (await verifier.verify(signed("three", ED25519, "EdDSA"))).role is Role.ADMIN
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


@pytest.mark.parametrize("kid", ["one", None])
async def test_grants_of_a_key_that_another_replaces_under_the_same_kid_become_invalid(
    key_set: KeySet, monkeypatch: pytest.MonkeyPatch, kid: str | None
) -> None:
    changes = 0

    def count() -> None:
        nonlocal changes
        changes += 1

    monkeypatch.setattr(jwks, "COOLDOWN_SECONDS", 0.0)
    key_set.keys = [jwk(RSA, "RS256", kid)]
    verifier = TokenVerifier(RemoteKeySet(key_set.url, count))
    grant = await verifier.verify(signed(kid))
    key_set.keys = [jwk(OTHER_RSA, "RS256", kid)]
    assert await denied(verifier, signed("unknown")) is CloseCode.INVALID_TOKEN
    assert not verifier.is_valid(grant)
    assert changes == 1


def broken_sets() -> list[Any]:
    """Key sets with each surprise in the place of each member, and of the set itself."""
    good = [jwk(RSA, "RS256", "one"), jwk(P256, "ES256", "two"), jwk(ED25519, "EdDSA", "three")]
    sets: list[Any] = [*SURPRISES, *({"keys": value} for value in SURPRISES), *({"keys": [value]} for value in SURPRISES)]
    for key in good:
        members = (*key, "key_ops", "x5c", "x5t", "d")
        sets += [{"keys": [{**key, name: value}]} for name in members for value in SURPRISES]
        sets += [{"keys": [{name: key[name] for name in key if name != left_out}]} for left_out in key]
    return sets


def parsed(key_set: Any) -> dict[str | None, list[VerificationKey]] | None:
    """The keys of the set; None if it is rejected. No other error than ValueError may come."""
    try:
        return _parse_key_set(json.dumps(key_set).encode())
    except ValueError:
        return None


def test_no_surprise_in_a_key_set_is_more_than_an_unusable_key_or_set() -> None:
    """No unusable entry hides the good key beside it, and a set without a usable key is rejected."""
    good = jwk(P256, "ES256", "good")
    assert len(parsed({"keys": [good]}) or {}) == 1
    for broken in broken_sets():
        keys = parsed(broken)
        assert keys is None or (keys and all(keys.values())), broken
        for kid in keys or {}:
            assert isinstance(kid, str | None), broken
        entries = broken.get("keys") if isinstance(broken, dict) else None
        if isinstance(entries, list):
            assert "good" in (parsed({"keys": [*entries, good]}) or {}), broken


@given(JSON)
def test_arbitrary_json_in_a_key_set_is_no_key(value: Any) -> None:
    assert parsed(value) is None
    assert parsed({"keys": value}) is None
    assert set(parsed({"keys": [value, jwk(P256, "ES256", "good")]}) or {}) == {"good"}


async def test_a_set_without_a_usable_key_ends_no_fetches_and_keeps_the_old_keys(
    key_set: KeySet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jwks, "REFRESH_SECONDS", 0.01)
    keys = RemoteKeySet(key_set.url)
    verifier = TokenVerifier(keys)
    grant = await verifier.verify(signed())
    key_set.keys = [{**jwk(RSA, "RS256", "one"), "kid": ["x"]}]
    task = asyncio.create_task(keys.run())
    async with asyncio.timeout(30):
        while key_set.requests < 4 and not task.done():
            await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    assert verifier.is_valid(grant)
    assert (await verifier.verify(signed())).role is Role.ADMIN
    assert "no key in it can be used" in caplog.text


async def test_a_surprise_while_the_set_is_read_keeps_the_old_keys(
    key_set: KeySet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jwks, "COOLDOWN_SECONDS", 0.0)
    verifier = TokenVerifier(RemoteKeySet(key_set.url))
    grant = await verifier.verify(signed())

    def surprise(body: bytes) -> Any:
        raise TypeError("unhashable type")

    monkeypatch.setattr(jwks, "_parse_key_set", surprise)
    assert await denied(verifier, signed("unknown")) is CloseCode.INVALID_TOKEN
    assert verifier.is_valid(grant)
    assert "stay valid" in caplog.text


async def test_a_key_verifies_the_algorithms_of_its_type_or_the_one_that_it_names(
    key_set: KeySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rsa_algorithms = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
    key_set.keys = [jwk(RSA, "RS256", "rsa", alg=None), jwk(P384, "ES384", "p384", alg=None)]
    verifier = TokenVerifier(RemoteKeySet(key_set.url))
    for algorithm in rsa_algorithms:
        assert (await verifier.verify(signed("rsa", RSA, algorithm))).role is Role.ADMIN
    assert (await verifier.verify(signed("p384", P384, "ES384"))).role is Role.ADMIN
    monkeypatch.setattr(jwks, "COOLDOWN_SECONDS", 0.0)
    key_set.keys = [jwk(RSA, "PS384", "one")]
    assert await denied(verifier, signed("other")) is CloseCode.INVALID_TOKEN
    for algorithm in rsa_algorithms:
        if algorithm == "PS384":
            assert (await verifier.verify(signed("one", RSA, algorithm))).role is Role.ADMIN
        else:
            assert await denied(verifier, signed("one", RSA, algorithm)) is CloseCode.INVALID_TOKEN


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_key_whose_algorithm_is_not_of_its_type_is_not_used(key_set: KeySet) -> None:
    key_set.keys = [
        jwk(RSA, "RS256", "one", alg="ES256"),
        jwk(P256, "ES256", "two", alg="ES384"),
        jwk(P256, "ES256", "three", alg="HS256"),
        jwk(RSA, "RS256", "four", alg="none"),
        jwk(SMALL_RSA, "RS256", "five"),
        jwk(RSA, "RS256", "six", key_ops=["encrypt"]),
        jwk(RSA, "RS256", "seven", key_ops=["verify"]),
    ]
    verifier = TokenVerifier(RemoteKeySet(key_set.url))
    for kid, key, algorithm in (
        ("one", RSA, "RS256"),
        ("two", P256, "ES256"),
        ("three", P256, "ES256"),
        ("four", RSA, "RS256"),
        ("five", SMALL_RSA, "RS256"),
        ("six", RSA, "RS256"),
    ):
        assert await denied(verifier, signed(kid, key, algorithm)) is CloseCode.INVALID_TOKEN, kid
    assert (await verifier.verify(signed("seven"))).role is Role.ADMIN


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
        while not keys._key_ids:
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


def test_a_public_key_has_the_algorithms_of_its_type(tmp_path: Path) -> None:
    rsa_algorithms = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    for key, algorithms in ((RSA, rsa_algorithms), (P256, {"ES256"}), (P384, {"ES384"}), (ED25519, {"EdDSA"})):
        assert load_public_key(public_pem(key)).algorithms == algorithms
    (tmp_path / "key.pem").write_text(public_pem(RSA))
    assert load_public_key(str(tmp_path / "key.pem")).algorithms == rsa_algorithms


def test_a_public_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(BadSetting, match="RSA of 2048 to 8192 bits"):
        load_public_key(public_pem(SMALL_RSA))
