"""Keys that tokens are checked with: one from the settings, or a set that is fetched from an address and kept fresh."""

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

from push.protocol.access import AccessDenied
from push.protocol.messages import CloseCode
from settings import BadSetting

__all__ = ["FixedKey", "KeySource", "RemoteKeySet", "as_jwk", "load_public_key"]

log = logging.getLogger("orderwire.keys")

# How often the key set is fetched anew, how soon after the last time for an unknown `kid`, how long one fetch may take, and
# how long the keys count when it fails.
REFRESH_SECONDS = 300.0
COOLDOWN_SECONDS = 10.0
FETCH_TIMEOUT_SECONDS = 5.0
MAX_STALE_SECONDS = 3600.0
MAX_KEY_SET_BYTES = 1024**2
MAX_KEYS = 32
# Never a symmetric one: a public key that is taken for a secret is known to everybody.
ASYMMETRIC_ALGORITHMS = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"))


class KeySource(Protocol):
    """Where the keys come from."""

    async def get_signing_keys(self, kid: str | None) -> Sequence[jwt.PyJWK]:
        """Those that may have signed a token with this header; each knows its one algorithm."""

    def has_key(self, kid: str | None) -> bool:
        """Whether tokens with this header still count."""


class FixedKey:
    """One key, from the settings."""

    def __init__(self, key: jwt.PyJWK) -> None:
        self._key = key

    async def get_signing_keys(self, kid: str | None) -> Sequence[jwt.PyJWK]:
        """Always that one: `kid` says nothing."""
        return [self._key]

    def has_key(self, kid: str | None) -> bool:
        """As long as the server runs."""
        return True


class RemoteKeySet:
    """A JSON Web Key Set (RFC 7517 section 5): cached, fetched again at an interval and for a `kid` that is not in it."""

    def __init__(self, url: str, on_keys_removed: Callable[[], None] = lambda: None) -> None:
        self._url = url
        self.on_keys_removed = on_keys_removed
        self._keys_by_kid: dict[str | None, list[jwt.PyJWK]] = {}
        self._fetched_at = -math.inf
        self._attempted_at = -math.inf
        self._fetch_task: asyncio.Task[None] | None = None

    async def get_signing_keys(self, kid: str | None) -> Sequence[jwt.PyJWK]:
        """Raises Refused when there are no keys to be had."""
        now = time.monotonic()
        known = self._keys_by_kid.get(kid) if kid is not None else None
        if (known is None and now - self._attempted_at > COOLDOWN_SECONDS) or now - self._fetched_at > MAX_STALE_SECONDS:
            await self._refresh()
        if time.monotonic() - self._fetched_at > MAX_STALE_SECONDS:
            raise AccessDenied(CloseCode.UNAVAILABLE, "the keys to check tokens with cannot be fetched right now")
        if kid is not None:
            return self._keys_by_kid.get(kid, [])
        return [key for keys in self._keys_by_kid.values() for key in keys]

    def has_key(self, kid: str | None) -> bool:
        """Whether the key is still in the set."""
        return kid is None or kid in self._keys_by_kid

    async def run(self) -> Never:
        """Keep the set fresh for as long as this task lives."""
        while True:
            await self._refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _refresh(self) -> None:
        """One fetch at a time, whoever asks; a client that leaves does not take it from the others."""
        if self._fetch_task is None or self._fetch_task.done():
            self._fetch_task = asyncio.create_task(self._fetch_once(), name="fetch of the key set")
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
            log.warning(
                "the keys at JWT_JWKS_URL cannot be fetched (%s): those from before count on for a while",
                str(error) or type(error).__name__,
            )
            return
        self._fetched_at = time.monotonic()
        gone = self._keys_by_kid.keys() - keys.keys()
        self._keys_by_kid = keys
        if gone:
            self.on_keys_removed()


def _parse_key_set(body: bytes) -> dict[str | None, list[jwt.PyJWK]]:
    """The usable keys by `kid`. Raises ValueError when it is no key set at all."""
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
        except Exception as error:  # whatever a stranger's entry makes the library stumble over
            log.debug("a key of the set cannot be used: %s", type(error).__name__)
            continue
        if key.algorithm_name in ASYMMETRIC_ALGORITHMS and key.public_key_use in (None, "sig"):
            keys.setdefault(key.key_id, []).append(key)
    return keys


def load_public_key(setting: str) -> jwt.PyJWK:
    """The key and its one algorithm. Raises BadSetting."""
    text = setting.replace("\\n", "\n")  # as it comes out of many a secret store
    try:
        if "-----BEGIN" not in text:
            text = Path(setting).read_text(encoding="utf-8")
        key = load_pem_public_key(text.encode())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no public key in PEM form"
        raise BadSetting(f"JWT_PUBLIC_KEY is not usable: {why}") from None
    match key:
        case rsa.RSAPublicKey() if key.key_size >= 2048:  # RFC 7518 section 3.3
            return as_jwk(key, "RS256")
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return as_jwk(key, "ES256")
        case ed25519.Ed25519PublicKey():
            return as_jwk(key, "EdDSA")
    raise BadSetting("JWT_PUBLIC_KEY is not usable: expected RSA of 2048 bits or more, P-256 or Ed25519")


def as_jwk(key: Any, algorithm: str) -> jwt.PyJWK:
    """The key in the form that knows its one algorithm."""
    return jwt.PyJWK(jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True), algorithm)
