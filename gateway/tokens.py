"""JSON Web Tokens (RFC 7519): what they grant, by keys that are given, or fetched from an address and kept fresh."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Never, Protocol

import aiohttp
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from push.access import ANYBODY, Grant, Refused, Role
from push.frames import Close
from settings import BadSetting, Settings

__all__ = ["Gate", "Keys", "RemoteKeys", "gate_of", "load_public_key", "mint"]

log = logging.getLogger("orderwire.tokens")

# For `nbf` and `iat` alone, since clocks differ; at `exp` it is over.
LEEWAY_SECONDS = 5.0
MOST_TOKEN_BYTES = 8 * 1024
# The last second of the year 9999: later ones have no RFC 3339.
LAST_MOMENT = 253402300799.0

# How often the key set is fetched anew, how soon after the last time for an unknown `kid`, how long one fetch may take, and
# how long the keys count when it fails.
REFRESH_SECONDS = 300.0
COOLDOWN_SECONDS = 10.0
FETCH_SECONDS = 5.0
STALE_SECONDS = 3600.0
MOST_KEY_SET_BYTES = 1024**2
MOST_KEYS = 32
# Never a symmetric one: a public key that is taken for a secret is known to everybody.
ASYMMETRIC = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"))


class Keys(Protocol):
    """Where the keys come from."""

    async def find(self, kid: str | None) -> Sequence[jwt.PyJWK]:
        """Those that may have signed a token with this header; each knows its one algorithm."""

    def knows(self, kid: str | None) -> bool:
        """Whether tokens with this header still count."""


class FixedKey:
    """One key, from the settings."""

    def __init__(self, key: jwt.PyJWK) -> None:
        self._key = key

    async def find(self, kid: str | None) -> Sequence[jwt.PyJWK]:
        """Always that one: `kid` says nothing."""
        return [self._key]

    def knows(self, kid: str | None) -> bool:
        """As long as the server runs."""
        return True


class RemoteKeys:
    """A JSON Web Key Set (RFC 7517 section 5): cached, fetched again at an interval and for a `kid` that is not in it."""

    def __init__(self, url: str, changed: Callable[[], None] = lambda: None) -> None:
        self._url = url
        self.changed = changed
        self._keys: dict[str | None, list[jwt.PyJWK]] = {}
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._fetch: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> Sequence[jwt.PyJWK]:
        """Raises Refused when there are no keys to be had."""
        now = time.monotonic()
        known = self._keys.get(kid) if kid is not None else None
        if (known is None and now - self._tried_at > COOLDOWN_SECONDS) or now - self._fetched_at > STALE_SECONDS:
            await self._fetched()
        if time.monotonic() - self._fetched_at > STALE_SECONDS:
            raise Refused(Close.UNAVAILABLE, "the keys to check tokens with cannot be fetched right now")
        if kid is not None:
            return self._keys.get(kid, [])
        return [key for keys in self._keys.values() for key in keys]

    def knows(self, kid: str | None) -> bool:
        """Whether the key is still in the set."""
        return kid is None or kid in self._keys

    async def run(self) -> Never:
        """Keep the set fresh for as long as this task lives."""
        while True:
            await self._fetched()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _fetched(self) -> None:
        """One fetch at a time, whoever asks; a client that leaves does not take it from the others."""
        if self._fetch is None or self._fetch.done():
            self._fetch = asyncio.create_task(self._fetch_once(), name="fetch of the key set")
        await asyncio.shield(self._fetch)

    async def _fetch_once(self) -> None:
        self._tried_at = time.monotonic()
        try:
            async with (
                asyncio.timeout(FETCH_SECONDS),
                aiohttp.ClientSession() as session,
                session.get(self._url, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise ValueError(f"HTTP status {response.status}")
                body = await response.content.read(MOST_KEY_SET_BYTES + 1)
                while len(body) <= MOST_KEY_SET_BYTES and (more := await response.content.read(MOST_KEY_SET_BYTES)):
                    body += more
                keys = _key_set(body)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            log.warning(
                "the keys at JWT_JWKS_URL cannot be fetched (%s): those from before count on for a while",
                str(error) or type(error).__name__,
            )
            return
        self._fetched_at = time.monotonic()
        gone = self._keys.keys() - keys.keys()
        self._keys = keys
        if gone:
            self.changed()


def _key_set(body: bytes) -> dict[str | None, list[jwt.PyJWK]]:
    """The usable keys by `kid`. Raises ValueError when it is no key set at all."""
    if len(body) > MOST_KEY_SET_BYTES:
        raise ValueError(f"more than {MOST_KEY_SET_BYTES} bytes")
    try:
        document = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JSON Web Key Set")
    keys: dict[str | None, list[jwt.PyJWK]] = {}
    for entry in entries[:MOST_KEYS]:
        try:
            key = jwt.PyJWK(entry)
        except Exception as error:  # whatever a stranger's entry makes the library stumble over
            log.debug("a key of the set cannot be used: %s", type(error).__name__)
            continue
        if key.algorithm_name in ASYMMETRIC and key.public_key_use in (None, "sig"):
            keys.setdefault(key.key_id, []).append(key)
    return keys


class Gate:
    """Checks tokens (``push.access.Authority``)."""

    def __init__(self, keys: Keys | None, audience: str | None = None, issuer: str | None = None) -> None:
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        # subject → the Unix second up to which its tokens do not count any more.
        self._revoked: Mapping[str, float] = {}

    @property
    def login(self) -> bool:
        """Whether a token is needed at all."""
        return self._keys is not None

    async def verify(self, token: str) -> Grant:
        """What the token grants. Raises Refused: invalid, expired, for nothing that we know, or keys out of reach."""
        if self._keys is None:
            return ANYBODY
        try:
            claims, key = await self._decode(token)
            grant = _grant_of(claims, key)
        except jwt.ExpiredSignatureError:
            raise Refused(Close.TOKEN_EXPIRED, "the token has expired") from None
        if grant.expired(time.time()):
            raise Refused(Close.TOKEN_EXPIRED, "the token has expired")
        if not self.holds(grant):
            raise Refused(Close.INVALID_TOKEN, "the token has been revoked")
        return grant

    def holds(self, grant: Grant) -> bool:
        """Whether what was granted has not been taken back."""
        if self._keys is not None and not self._keys.knows(grant.key):
            return False
        until = self._revoked.get(grant.subject) if grant.subject is not None else None
        return until is None or (grant.issued_at is not None and grant.issued_at > until)

    def revoke(self, subjects: Mapping[str, float]) -> bool:
        """Tokens of these subjects that were issued up to the moment given do not count. True when that is news."""
        news = subjects != self._revoked
        self._revoked = subjects
        return news

    async def _decode(self, token: str) -> tuple[dict[str, Any], str | None]:
        assert self._keys is not None
        invalid = Refused(Close.INVALID_TOKEN, "the token is not valid")
        try:
            if len(token) > MOST_TOKEN_BYTES:
                raise invalid
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            for key in await self._keys.find(kid):
                if key.algorithm_name == header.get("alg"):
                    try:
                        return self._claims(token, key), key.key_id
                    except jwt.InvalidSignatureError:
                        continue
        except (Refused, jwt.ExpiredSignatureError):
            raise
        except Exception as error:  # a token that the library stumbles over in any way is not valid
            log.debug("a token was refused: %s", type(error).__name__)
        raise invalid

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm_name],
            audience=self._audience,
            issuer=self._issuer,
            # PyJWT's leeway would also prolong the token: `exp` is looked at without it, in `verify`.
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp"], "verify_aud": self._audience is not None, "verify_iss": self._issuer is not None},
        )


def _grant_of(claims: Mapping[str, Any], key: str | None) -> Grant:
    """Raises Refused when the claims make no sense here."""
    invalid = Refused(Close.INVALID_TOKEN, "the token's claims are not usable")
    subject, orders, issued = claims.get("sub"), claims.get("orders", []), claims.get("iat")
    # PostgreSQL's text holds neither NUL nor half a surrogate pair.
    if subject is not None and (not isinstance(subject, str) or "\0" in subject or _is_broken(subject)):
        raise invalid
    if not isinstance(orders, list) or not all(type(order) is int and -(2**63) <= order < 2**63 for order in orders):
        raise invalid
    try:
        role = Role(claims.get("role", ""))
        grant = Grant(
            role,
            subject,
            frozenset(orders),
            min(float(int(claims["exp"])), LAST_MOMENT),
            None if issued is None else float(issued),
            key,
        )
    except (ValueError, TypeError, OverflowError):
        raise Refused(Close.NOT_PERMITTED, "the token has no role that is known here") from None
    if role is Role.CUSTOMER and subject is None and not orders:
        raise Refused(Close.NOT_PERMITTED, 'a customer\'s token needs "sub" or "orders"')
    return grant


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


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
            return _jwk(key, "RS256")
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return _jwk(key, "ES256")
        case ed25519.Ed25519PublicKey():
            return _jwk(key, "EdDSA")
    raise BadSetting("JWT_PUBLIC_KEY is not usable: expected RSA of 2048 bits or more, P-256 or Ed25519")


def _jwk(key: Any, algorithm: str) -> jwt.PyJWK:
    return jwt.PyJWK(jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True), algorithm)


def gate_of(settings: Settings) -> tuple[Gate, RemoteKeys | None]:
    """As the settings say; the keys that have to be kept fresh, if there are any. Raises BadSetting."""
    remote = RemoteKeys(settings.jwt_jwks_url) if settings.jwt_jwks_url is not None else None
    keys: Keys | None = remote
    if settings.jwt_secret is not None:
        keys = FixedKey(_jwk(settings.jwt_secret.encode(), "HS256"))
    elif settings.jwt_public_key is not None:
        keys = FixedKey(load_public_key(settings.jwt_public_key))
    return Gate(keys, settings.jwt_audience, settings.jwt_issuer), remote


def mint(settings: Settings, claims: Mapping[str, Any], private_key: str | None = None) -> str:
    """A signed token, for `server.py token`. Raises BadSetting when there is nothing to sign with."""
    claims = dict(claims)
    if settings.jwt_audience is not None:
        claims["aud"] = settings.jwt_audience
    if settings.jwt_issuer is not None:
        claims["iss"] = settings.jwt_issuer
    if private_key is not None:
        try:
            pem = Path(private_key).read_text(encoding="utf-8")
            for algorithm in ("RS256", "ES256", "EdDSA"):
                try:
                    return jwt.encode(claims, pem, algorithm)
                except (TypeError, ValueError, jwt.PyJWTError):
                    continue
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "no private key in PEM form"
            raise BadSetting(f"{private_key}: {why}") from None
        raise BadSetting(f"{private_key}: no private key in PEM form that is RSA, P-256 or Ed25519")
    if settings.jwt_secret is None:
        raise BadSetting(
            "nothing to sign with: set JWT_SECRET (make one with: openssl rand -hex 32), or give --key private.pem"
        )
    return jwt.encode(claims, settings.jwt_secret, "HS256")
