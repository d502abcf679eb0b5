"""Tokens, good and bad, and the keys that sign them.

They are good for a day, since some are made when the tests are collected.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

SECRET = "0123456789abcdef0123456789abcdef-secret"

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
# Shorter than RFC 7518 section 3.3 permits.
SMALL_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
P521 = ec.generate_private_key(ec.SECP521R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()


def public_pem(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def private_pem(key: Any) -> str:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


def jwk(key: Any, algorithm: str, kid: str | None, **extra: Any) -> dict[str, Any]:
    """The public half, as an entry of a key set. A member that is None is left out."""
    public: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    public.pop("key_ops", None)
    members = {**public, "kid": kid, "alg": algorithm, "use": "sig", **extra}
    return {name: value for name, value in members.items() if value is not None}


def token(
    role: str | None = "admin",
    *,
    key: Any = SECRET,
    algorithm: str = "HS256",
    kid: str | None = None,
    ttl: float = 86_400,
    **claims: Any,
) -> str:
    now = time.time()
    body = {"iat": int(now), "exp": int(now + ttl), **({"role": role} if role is not None else {}), **claims}
    return jwt.encode(
        {name: value for name, value in body.items() if value is not None}, key, algorithm, {"kid": kid} if kid else None
    )


def unsigned_token(**claims: Any) -> str:
    """`alg: none`, as RFC 7518 section 3.6 has it."""
    parts = ({"alg": "none", "typ": "JWT"}, {"role": "admin", "exp": int(time.time()) + 86_400, **claims})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def hs256_token(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """HS256 whatever the secret looks like: PyJWT itself refuses to sign with a public key."""
    import hashlib
    import hmac

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    body = encoded(json.dumps(header).encode()) + "." + encoded(json.dumps(claims).encode())
    return body + "." + encoded(hmac.new(secret, body.encode(), hashlib.sha256).digest())
