"""The keys that verify tokens: one from the settings, or a JSON Web Key Set (RFC 7517) that is fetched from JWT_JWKS_URL."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Never, Protocol

import aiohttp
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from logs import FailureLog
from push.backoff import Backoff
from push.protocol.access import AccessDenied
from push.protocol.messages import CloseCode
from settings import BadSetting

__all__ = ["FixedKey", "KeySource", "RemoteKeySet", "as_jwk", "load_public_key"]

log = logging.getLogger("orderwire.jwks")

# Interval between two fetches of the key set.
REFRESH_SECONDS = 300.0
# After a fetch that failed the next one comes sooner: after random times below 1, 2, 4 … 60 s.
INITIAL_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0
# A token with an unknown `kid`, or while there are no valid keys, leads to a fetch, but not sooner than this after the last.
COOLDOWN_SECONDS = 10.0
FETCH_TIMEOUT_SECONDS = 5.0
# How long the keys stay valid while fetches fail.
MAX_STALE_SECONDS = 3600.0
MAX_KEY_SET_BYTES = 1024**2
MAX_KEYS = 32
# No symmetric ones: a token signed with HS256 and the public key as its secret would be accepted, and the public key is public.
ASYMMETRIC_ALGORITHMS = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"))


class KeySource(Protocol):
    """Where a TokenVerifier gets its keys from."""

    async def get_signing_keys(self, kid: str | None) -> Sequence[jwt.PyJWK]:
        """The keys that may have signed a token with this `kid`, each for one algorithm. Raises AccessDenied without keys."""

    def has_key(self, kid: str | None) -> bool:
        """Whether tokens that were signed with this key are still valid."""


class FixedKey:
    """One key from the settings; the `kid` of a token is ignored."""

    def __init__(self, key: jwt.PyJWK) -> None:
        self._key = key

    async def get_signing_keys(self, kid: str | None) -> Sequence[jwt.PyJWK]:
        return [self._key]

    def has_key(self, kid: str | None) -> bool:
        return True


class RemoteKeySet:
    """A JSON Web Key Set (RFC 7517 section 5): cached, fetched again at an interval and for a `kid` that is not in it.

    ``run`` must run in a task. ``on_keys_removed`` is called when a fetch finds that a key is not in the set any more.
    """

    def __init__(self, url: str, on_keys_removed: Callable[[], None] = lambda: None) -> None:
        self._url = url
        self.on_keys_removed = on_keys_removed
        self._keys_by_kid: dict[str | None, list[jwt.PyJWK]] = {}
        self._fetched_at = -math.inf
        self._attempted_at = -math.inf
        self._fetch_task: asyncio.Task[None] | None = None
        self._failure_log = FailureLog(log)

    async def get_signing_keys(self, kid: str | None) -> Sequence[jwt.PyJWK]:
        """The keys with this `kid`, all without one. Raises AccessDenied if the last fetch is older than MAX_STALE_SECONDS."""
        now = time.monotonic()
        known = self._keys_by_kid.get(kid) if kid is not None else None
        is_wanted = known is None or now - self._fetched_at > MAX_STALE_SECONDS
        if is_wanted and (self._is_fetching or now - self._attempted_at > COOLDOWN_SECONDS):
            await self._refresh()
        if time.monotonic() - self._fetched_at > MAX_STALE_SECONDS:
            raise AccessDenied(CloseCode.UNAVAILABLE, "the keys that verify tokens cannot be fetched right now")
        if kid is not None:
            return self._keys_by_kid.get(kid, [])
        return [key for keys in self._keys_by_kid.values() for key in keys]

    def has_key(self, kid: str | None) -> bool:
        return kid is None or kid in self._keys_by_kid

    async def run(self) -> Never:
        """Fetch the set at every interval, until cancelled."""
        retry = Backoff(INITIAL_RETRY_SECONDS, MAX_RETRY_SECONDS)
        while True:
            await self._refresh()
            if self._fetched_at >= self._attempted_at:
                retry.reset()
                await asyncio.sleep(REFRESH_SECONDS)
            else:
                await asyncio.sleep(retry.next_delay())

    @property
    def _is_fetching(self) -> bool:
        return self._fetch_task is not None and not self._fetch_task.done()

    async def _refresh(self) -> None:
        """Fetch once; concurrent callers share the fetch, and one that is cancelled does not end it for the others."""
        if self._fetch_task is None or not self._is_fetching:
            self._fetch_task = asyncio.create_task(self._fetch_once(), name="key set fetch")
        await asyncio.shield(self._fetch_task)

    async def _fetch_once(self) -> None:
        self._attempted_at = time.monotonic()
        try:
            async with (
                asyncio.timeout(FETCH_TIMEOUT_SECONDS),
                aiohttp.ClientSession() as session,
                session.get(self._url, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise ValueError(f"HTTP status {response.status}")
                body = await response.content.read(MAX_KEY_SET_BYTES + 1)
                while len(body) <= MAX_KEY_SET_BYTES and (more := await response.content.read(MAX_KEY_SET_BYTES)):
                    body += more
                keys = _parse_key_set(body)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            self._failure_log.report(
                f"the keys at JWT_JWKS_URL cannot be fetched ({reason}): the cached ones stay valid for a while"
            )
            return
        self._failure_log.recovered("the keys at JWT_JWKS_URL have been fetched")
        self._fetched_at = time.monotonic()
        removed = self._keys_by_kid.keys() - keys.keys()
        self._keys_by_kid = keys
        if removed:
            self.on_keys_removed()


def _parse_key_set(body: bytes) -> dict[str | None, list[jwt.PyJWK]]:
    """The usable keys by `kid`; entries that are not usable are skipped. Raises ValueError if it is not a key set."""
    if len(body) > MAX_KEY_SET_BYTES:
        raise ValueError(f"more than {MAX_KEY_SET_BYTES} bytes")
    try:
        document = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JSON Web Key Set")
    keys: dict[str | None, list[jwt.PyJWK]] = {}
    for entry in entries[:MAX_KEYS]:
        try:
            key = jwt.PyJWK(entry)
        except Exception as error:  # PyJWT raises errors of many types for malformed entries
            log.debug("a key of the set cannot be used: %s", type(error).__name__)
            continue
        if key.algorithm_name in ASYMMETRIC_ALGORITHMS and key.public_key_use in (None, "sig"):
            keys.setdefault(key.key_id, []).append(key)
    return keys


def load_public_key(setting: str) -> jwt.PyJWK:
    """The key of JWT_PUBLIC_KEY, PEM or the path of a PEM file, with its one algorithm. Raises BadSetting."""
    text = setting.replace("\\n", "\n")  # many secret stores escape line breaks
    try:
        if "-----BEGIN" not in text:
            text = Path(setting).read_text(encoding="utf-8")
        key = load_pem_public_key(text.encode())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no public key in PEM form"
        raise BadSetting(f"JWT_PUBLIC_KEY is not usable: {reason}") from None
    match key:
        case rsa.RSAPublicKey() if key.key_size >= 2048:  # RFC 7518 section 3.3
            return as_jwk(key, "RS256")
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return as_jwk(key, "ES256")
        case ed25519.Ed25519PublicKey():
            return as_jwk(key, "EdDSA")
    raise BadSetting("JWT_PUBLIC_KEY is not usable: expected RSA of 2048 bits or more, P-256 or Ed25519")


def as_jwk(key: Any, algorithm: str) -> jwt.PyJWK:
    """The key as a JWK that is valid for this algorithm only, whatever a token's header says."""
    return jwt.PyJWK(jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True), algorithm)
