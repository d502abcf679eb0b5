"""JSON Web Tokens (RFC 7519): verification, what a token grants, and signing for `server.py token`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt

from gateway.auth.jwks import FixedKey, KeySource, RemoteKeySet, as_jwk, load_public_key
from push.protocol.access import ANONYMOUS_GRANT, AccessDenied, Grant, Role, is_key
from push.protocol.messages import CloseCode
from settings import BadSetting, Settings

__all__ = ["TokenVerifier", "sign_token", "verifier_from_settings"]

log = logging.getLogger("orderwire.tokens")

# Tolerance for `nbf` and `iat`, since clocks differ. There is none for `exp`.
LEEWAY_SECONDS = 5.0
MAX_TOKEN_BYTES = 8 * 1024
# The last second of the year 9999, the latest that RFC 3339 can express.
MAX_TIMESTAMP = 253402300799.0


class TokenVerifier:
    """Verifies tokens; the ``Authenticator`` of the gateway. Without keys no login is required."""

    def __init__(self, keys: KeySource | None, audience: str | None = None, issuer: str | None = None) -> None:
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        # Subject → Unix time in seconds; its tokens that were issued up to then are revoked.
        self._revoked_issued_up_to: Mapping[str, float] = {}

    @property
    def login_required(self) -> bool:
        return self._keys is not None

    async def verify(self, token: str) -> Grant:
        """What the token grants. Raises AccessDenied: it is invalid, expired or revoked, has no role, or there are no keys."""
        if self._keys is None:
            return ANONYMOUS_GRANT
        try:
            claims, key = await self._decode(token)
            grant = _grant_from_claims(claims, key)
        except jwt.ExpiredSignatureError:
            raise AccessDenied(CloseCode.TOKEN_EXPIRED, "the token has expired") from None
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
        return until is None or (grant.issued_at is not None and grant.issued_at > until)

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
            kid = header.get("kid")
            for key in await self._keys.get_signing_keys(kid):
                if key.algorithm_name == header.get("alg"):
                    try:
                        return self._decode_with_key(token, key), key.key_id
                    except jwt.InvalidSignatureError:
                        continue
        except (AccessDenied, jwt.ExpiredSignatureError):
            raise
        except Exception as error:  # PyJWT raises errors of many types for malformed tokens
            log.debug("a token was rejected: %s", type(error).__name__)
        raise invalid

    def _decode_with_key(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm_name],
            audience=self._audience,
            issuer=self._issuer,
            # PyJWT applies the leeway to `exp` too: `verify` checks `exp` again without it.
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp"], "verify_aud": self._audience is not None, "verify_iss": self._issuer is not None},
        )


def _grant_from_claims(claims: Mapping[str, Any], key_id: str | None) -> Grant:
    """Raises AccessDenied when the claims are not usable."""
    invalid = AccessDenied(CloseCode.INVALID_TOKEN, "the token's claims are not usable")
    subject, orders, issued_at = claims.get("sub"), claims.get("orders", []), claims.get("iat")
    # PostgreSQL's type text can hold neither NUL nor a lone surrogate.
    if subject is not None and (not isinstance(subject, str) or "\0" in subject or _has_lone_surrogate(subject)):
        raise invalid
    if not isinstance(orders, list) or not all(map(_is_order_key, orders)):
        raise invalid
    try:
        role = Role(claims.get("role", ""))
        grant = Grant(
            role,
            subject,
            frozenset(map(str, orders)),
            min(float(int(claims["exp"])), MAX_TIMESTAMP),
            None if issued_at is None else float(issued_at),
            key_id,
        )
    except (ValueError, TypeError, OverflowError):
        raise AccessDenied(CloseCode.NOT_PERMITTED, "the token has no role that is known here") from None
    if role is Role.CUSTOMER and subject is None and not orders:
        raise AccessDenied(CloseCode.NOT_PERMITTED, 'a customer\'s token needs "sub" or "orders"')
    return grant


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
        keys = FixedKey(as_jwk(settings.jwt_secret.encode(), "HS256"))
    elif settings.jwt_public_key is not None:
        keys = FixedKey(load_public_key(settings.jwt_public_key))
    return TokenVerifier(keys, settings.jwt_audience, settings.jwt_issuer), remote


def sign_token(settings: Settings, claims: Mapping[str, Any], private_key: str | None = None) -> str:
    """A token with the claims, signed with the private key in the file, else with JWT_SECRET. Raises BadSetting."""
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
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "no private key in PEM form"
            raise BadSetting(f"{private_key}: {reason}") from None
        raise BadSetting(f"{private_key}: no private key in PEM form that is RSA, P-256 or Ed25519")
    if settings.jwt_secret is None:
        raise BadSetting("nothing to sign with: set JWT_SECRET to the server's key, or give --key private.pem")
    return jwt.encode(claims, settings.jwt_secret, "HS256")
