"""The keys that verify tokens: one from the settings, or a JSON Web Key Set (RFC 7517) that is fetched from JWT_JWKS_URL."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never, Protocol

import aiohttp
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from logs import FailureLog
from push.backoff import Backoff
from push.protocol.access import AccessDenied
from push.protocol.messages import CloseCode
from settings import BadSetting

__all__ = ["FixedKey", "KeySource", "RemoteKeySet", "VerificationKey", "load_public_key", "secret_key"]

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
# RSA: RFC 7518 section 3.3 requires 2048 bits; a signature of a much longer key takes long to verify.
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
_RSA_ALGORITHMS = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
_EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_KEY_TYPES = f"RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, P-256, P-384, P-521 or Ed25519"


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key and the algorithms that it verifies. These follow from the key's type, never from a token: a public key is never
    the secret of an HS256 signature. ``key_id`` is the same for the same key only; None if there is but one.
    """

    key: Any
    algorithms: frozenset[str]
    key_id: str | None = None


class KeySource(Protocol):
    """Where a TokenVerifier gets its keys from."""

    async def get_signing_keys(self, kid: str | None) -> Sequence[VerificationKey]:
        """The keys that may have signed a token with this `kid`. Raises AccessDenied without keys."""

    def has_key(self, key_id: str | None) -> bool:
        """Whether tokens that were signed with the key with this ``key_id`` are still valid."""


class FixedKey:
    """One key from the settings; the `kid` of a token is ignored."""

    def __init__(self, key: VerificationKey) -> None:
        self._key = key

    async def get_signing_keys(self, kid: str | None) -> Sequence[VerificationKey]:
        return [self._key]

    def has_key(self, key_id: str | None) -> bool:
        return True


class RemoteKeySet:
    """A JSON Web Key Set (RFC 7517 section 5): cached, fetched again at an interval and for a `kid` that is not in it.

    ``run`` must run in a task. ``on_keys_removed`` is called when a fetch finds that a key is not in the set any more. A fetch
    that fails, for whatever reason, or brings no key that can be used leaves the keys as they are.
    """

    def __init__(self, url: str, on_keys_removed: Callable[[], None] = lambda: None) -> None:
        self._url = url
        self.on_keys_removed = on_keys_removed
        self._keys_by_kid: _KeysByKid = {}
        self._key_ids: frozenset[str | None] = frozenset()
        self._fetched_at = -math.inf
        self._attempted_at = -math.inf
        self._fetch_task: asyncio.Task[None] | None = None
        self._failure_log = FailureLog(log)

    async def get_signing_keys(self, kid: str | None) -> Sequence[VerificationKey]:
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

    def has_key(self, key_id: str | None) -> bool:
        return key_id in self._key_ids

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
        except Exception as error:  # of many types, since the answer may be anything; none of them may end ``run``
            reason = str(error) or type(error).__name__
            self._failure_log.report(
                f"the keys at JWT_JWKS_URL cannot be fetched ({reason}): the cached ones stay valid for a while"
            )
            return
        self._failure_log.recovered("the keys at JWT_JWKS_URL have been fetched")
        self._fetched_at = time.monotonic()
        key_ids = frozenset(key.key_id for same_kid in keys.values() for key in same_kid)
        removed = self._key_ids - key_ids
        self._keys_by_kid, self._key_ids = keys, key_ids
        if removed:
            self.on_keys_removed()


_KeysByKid = dict[str | None, list[VerificationKey]]


def _parse_key_set(body: bytes) -> _KeysByKid:
    """The usable keys by `kid`; entries that are not usable are skipped (RFC 7517 section 5). Raises ValueError if it is not a
    key set, or has no usable key.
    """
    if len(body) > MAX_KEY_SET_BYTES:
        raise ValueError(f"more than {MAX_KEY_SET_BYTES} bytes")
    try:
        document = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JSON Web Key Set")
    keys: _KeysByKid = {}
    for entry in entries[:MAX_KEYS]:
        try:
            kid, key = _parse_jwk(entry)
        except Exception as error:  # PyJWT raises errors of many types for malformed entries
            log.debug(
                "a key of the set cannot be used: %s", str(error) if isinstance(error, _Unusable) else type(error).__name__
            )
            continue
        keys.setdefault(kid, []).append(key)
    if not keys:
        raise ValueError("no key in it can be used")
    return keys


class _Unusable(ValueError):
    """A key that is not used here; the text says why."""


def _parse_jwk(entry: Any) -> tuple[str | None, VerificationKey]:
    """The `kid` and the key of one entry (RFC 7517 section 4). Raises _Unusable, and what PyJWT raises."""
    if not isinstance(entry, dict):
        raise _Unusable("not an object")
    kid, use, operations, algorithm = (entry.get(name) for name in ("kid", "use", "key_ops", "alg"))
    if not isinstance(kid, str | None):
        raise _Unusable("kid is not a text")
    if use not in (None, "sig") or (
        operations is not None and (not isinstance(operations, list) or "verify" not in operations)
    ):
        raise _Unusable("not for signatures")
    public_key = jwt.PyJWK(entry).key
    algorithms = _algorithms_of(public_key)
    if algorithm is not None:
        if algorithm not in algorithms:
            raise _Unusable("alg is not one of its type")
        algorithms = frozenset((algorithm,))
    # By its content: a set may give the same `kid`, or none, to another key.
    key_id = hashlib.sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    return kid, VerificationKey(public_key, algorithms, key_id)


def _algorithms_of(key: Any) -> frozenset[str]:
    """The algorithms of RFC 7518 and 8037 that a public key of this type verifies. Raises _Unusable for any other key."""
    match key:
        case rsa.RSAPublicKey() if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return _RSA_ALGORITHMS
        case ec.EllipticCurvePublicKey() if key.curve.name in _EC_ALGORITHMS:
            return frozenset((_EC_ALGORITHMS[key.curve.name],))
        case ed25519.Ed25519PublicKey():
            return frozenset(("EdDSA",))
    raise _Unusable(f"expected {_KEY_TYPES}")


def load_public_key(setting: str) -> VerificationKey:
    """The key of JWT_PUBLIC_KEY, PEM or the path of a PEM file, with the algorithms of its type. Raises BadSetting."""
    text = setting.replace("\\n", "\n")  # many secret stores escape line breaks
    try:
        if "-----BEGIN" not in text:
            text = Path(setting).read_text(encoding="utf-8")
        key = load_pem_public_key(text.encode())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no public key in PEM form"
        raise BadSetting(f"JWT_PUBLIC_KEY is not usable: {reason}") from None
    try:
        return VerificationKey(key, _algorithms_of(key))
    except _Unusable as error:
        raise BadSetting(f"JWT_PUBLIC_KEY is not usable: {error}") from None


def secret_key(secret: str) -> VerificationKey:
    """The key of JWT_SECRET."""
    return VerificationKey(secret.encode(), frozenset(("HS256",)))
