"""JSON Web Tokens (RFC 7519): verification, what a token grants, and signing for `server.py token`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jwt

from gateway.auth.jwks import FixedKey, KeySource, RemoteKeySet, VerificationKey, load_public_key, secret_key
from push.protocol.access import ANONYMOUS_GRANT, AccessDenied, Grant, Role, is_key
from push.protocol.messages import CloseCode
from settings import BadSetting, Settings

__all__ = ["TokenVerifier", "sign_token", "verifier_from_settings"]

log = logging.getLogger("orderwire.tokens")

# Tolerance for `nbf` and `iat`, and for `iat` in a revocation, since clocks differ. There is none for `exp`.
LEEWAY_SECONDS = 5.0
MAX_TOKEN_BYTES = 8 * 1024
# The last second of the year 9999, the latest that RFC 3339 can express.
MAX_TIMESTAMP = 253402300799.0


class TokenVerifier:
    """Verifies tokens; the ``Authenticator`` of the gateway. Without keys no login is required."""

    def __init__(
        self,
        keys: KeySource | None,
        audience: str | None = None,
        issuer: str | None = None,
        *,
        role_claim: str = "role",
        role_map: Iterable[tuple[str, str]] = (),
    ) -> None:
        """``role_claim`` and ``role_map`` are those of Settings."""
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._role_claim = role_claim
        self._role_map = _role_map(role_map)
        # Subject → Unix time in seconds; its tokens that were issued up to then are revoked.
        self._revoked_issued_up_to: Mapping[str, float] = {}

    @property
    def login_required(self) -> bool:
        return self._keys is not None

    async def verify(self, token: str) -> Grant:
        """What the token grants. Raises AccessDenied: it is invalid, expired or revoked, has no role, or there are no keys."""
        if self._keys is None:
            return ANONYMOUS_GRANT
        grant = self._grant_from_claims(*await self._decode(token))
        if grant.expired(time.time()):
            raise AccessDenied(CloseCode.TOKEN_EXPIRED, "the token has expired")
        if not self.is_valid(grant):
            raise AccessDenied(CloseCode.INVALID_TOKEN, "the token has been revoked")
        return grant

    def is_valid(self, grant: Grant) -> bool:
        """Whether the grant's key is still in use and its token was not revoked. Does not check the expiry."""
        if self._keys is not None and not self._keys.has_key(grant.key_id):
            return False
        until = self._revoked_issued_up_to.get(grant.subject) if grant.subject is not None else None
        # A token that was issued before may be dated later: by a clock that is fast, up to the leeway.
        return until is None or (grant.issued_at is not None and grant.issued_at > until + LEEWAY_SECONDS)

    def update_revocations(self, revoked_issued_up_to: Mapping[str, float]) -> bool:
        """Set the revocations: subject → Unix time up to which its tokens are revoked. Returns whether anything changed."""
        changed = revoked_issued_up_to != self._revoked_issued_up_to
        self._revoked_issued_up_to = revoked_issued_up_to
        return changed

    async def _decode(self, token: str) -> tuple[dict[str, Any], str | None]:
        assert self._keys is not None
        invalid = AccessDenied(CloseCode.INVALID_TOKEN, "the token is not valid")
        try:
            if len(token) > MAX_TOKEN_BYTES:
                raise invalid
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            for key in await self._keys.get_signing_keys(header.get("kid")):
                if algorithm in key.algorithms:
                    try:
                        return self._decode_with_key(token, key, algorithm), key.key_id
                    except jwt.InvalidSignatureError:
                        continue
        except AccessDenied:
            raise
        except Exception as error:  # PyJWT raises errors of many types for malformed tokens
            log.debug("a token was rejected: %s", type(error).__name__)
        raise invalid

    def _decode_with_key(self, token: str, key: VerificationKey, algorithm: str) -> dict[str, Any]:
        """The claims. Verifies signature, audience and issuer; ``_grant_from_claims`` checks the other claims."""
        return jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuer,
            options={
                "verify_aud": self._audience is not None,
                "verify_iss": self._issuer is not None,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )

    def _grant_from_claims(self, claims: Mapping[str, Any], key_id: str | None) -> Grant:
        """Raises AccessDenied when the claims are not usable."""
        expires_at, not_before, issued_at = (_time(claims, name) for name in ("exp", "nbf", "iat"))
        latest = time.time() + LEEWAY_SECONDS
        if expires_at is None or (not_before or 0.0) > latest or (issued_at or 0.0) > latest:
            raise _UNUSABLE_CLAIMS
        subject, orders = claims.get("sub"), claims.get("orders", [])
        # PostgreSQL's type text can hold neither NUL nor a lone surrogate.
        if subject is not None and (not isinstance(subject, str) or "\0" in subject or _has_lone_surrogate(subject)):
            raise _UNUSABLE_CLAIMS
        if not isinstance(orders, list) or not all(map(_is_order_key, orders)):
            raise _UNUSABLE_CLAIMS
        if subject is not None and not subject.strip():
            subject = None  # a shop may leave customer_id blank where there is no customer
        role = self._role(claims)
        if role is Role.CUSTOMER and subject is None and not orders:
            raise AccessDenied(CloseCode.NOT_PERMITTED, 'a customer\'s token needs "sub" or "orders"')
        return Grant(role, subject, frozenset(map(str, orders)), min(float(int(expires_at)), MAX_TIMESTAMP), issued_at, key_id)

    def _role(self, claims: Mapping[str, Any]) -> Role:
        """The most powerful of the token's roles. Raises AccessDenied if it has none that is known here."""
        named = _find_claim(claims, self._role_claim)
        names = named if isinstance(named, list) else [named]
        roles = {self._role_map[name] for name in names if isinstance(name, str) and name in self._role_map}
        for role in Role:  # the most powerful comes first
            if role in roles:
                return role
        raise AccessDenied(CloseCode.NOT_PERMITTED, "the token has no role that is known here")


_UNUSABLE_CLAIMS = AccessDenied(CloseCode.INVALID_TOKEN, "the token's claims are not usable")


def _role_map(pairs: Iterable[tuple[str, str]]) -> dict[str, Role]:
    """The roles by their names in tokens; without pairs each by its own name."""
    return {name: Role(role) for name, role in pairs} or {role.value: role for role in Role}


def _find_claim(claims: object, path: str) -> object:
    """The claim with this name or, at the dots of the path, the member of a claim; None if there is none.

    Names may contain dots themselves, as URLs do: of several readings the one with the longest first name counts.
    """
    if not isinstance(claims, dict):
        return None
    if path in claims:
        return claims[path]
    dots = [index for index, character in enumerate(path) if character == "."]
    for dot in reversed(dots):
        if path[:dot] in claims and (found := _find_claim(claims[path[:dot]], path[dot + 1 :])) is not None:
            return found
    return None


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A claim of type NumericDate (RFC 7519 section 2), in Unix seconds; None if it is absent. Raises AccessDenied."""
    value = claims.get(name, _ABSENT)
    if value is _ABSENT:
        return None
    try:
        seconds = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise _UNUSABLE_CLAIMS
    return seconds


_ABSENT = object()


def _is_order_key(order: object) -> bool:
    """An integer that a column can have, or a text."""
    return is_key(order) if isinstance(order, str) else type(order) is int and -(2**63) <= order < 2**63


def _has_lone_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def verifier_from_settings(settings: Settings) -> tuple[TokenVerifier, RemoteKeySet | None]:
    """The verifier for the settings, and its remote key set, if there is one: the caller must run it. Raises BadSetting."""
    remote = RemoteKeySet(settings.jwt_jwks_url) if settings.jwt_jwks_url is not None else None
    keys: KeySource | None = remote
    if settings.jwt_secret is not None:
        keys = FixedKey(secret_key(settings.jwt_secret))
    elif settings.jwt_public_key is not None:
        keys = FixedKey(load_public_key(settings.jwt_public_key))
    verifier = TokenVerifier(
        keys,
        settings.jwt_audience,
        settings.jwt_issuer,
        role_claim=settings.jwt_role_claim,
        role_map=settings.jwt_role_map,
    )
    return verifier, remote


def sign_token(settings: Settings, claims: Mapping[str, Any], private_key: str | None = None) -> str:
    """A token with the claims, signed with the private key in the file, else with JWT_SECRET. Raises BadSetting.

    The claim `role` becomes the claim of JWT_ROLE_CLAIM with a name of JWT_ROLE_MAP.
    """
    claims = dict(claims)
    role = claims.pop("role")
    names = [name for name, mapped in _role_map(settings.jwt_role_map).items() if mapped == role]
    if not names:
        raise BadSetting(f"JWT_ROLE_MAP names no role for {role}: add NAME:{role} to it")
    claims[settings.jwt_role_claim] = names[0]
    if settings.jwt_audience is not None:
        claims["aud"] = settings.jwt_audience
    if settings.jwt_issuer is not None:
        claims["iss"] = settings.jwt_issuer
    if private_key is not None:
        try:
            pem = Path(private_key).read_text(encoding="utf-8")
            for algorithm in ("RS256", "ES256", "ES384", "ES512", "EdDSA"):
                try:
                    return jwt.encode(claims, pem, algorithm)
                except (TypeError, ValueError, jwt.PyJWTError):
                    continue
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "no private key in PEM form"
            raise BadSetting(f"{private_key}: {reason}") from None
        raise BadSetting(f"{private_key}: no private key in PEM form that is RSA, P-256, P-384, P-521 or Ed25519")
    if settings.jwt_secret is None:
        raise BadSetting("nothing to sign with: set JWT_SECRET to the server's key, or give --key private.pem")
    return jwt.encode(claims, settings.jwt_secret, "HS256")
