"""Tokens: valid ones, invalid ones and random text."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import time
from typing import Any

from tests.fuzz.octets import mutate

__all__ = ["CANARY", "SECRET", "odd_token", "valid_token"]

# Part of customers' names and of invalid tokens: it must not occur in the log, and only an admin may receive it.
CANARY = "cAnArY"
SECRET = f"{CANARY}-of-thirty-two-bytes-or-more"

ROLES = ("admin", "viewer", "customer")


def _encode_part(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode(errors="replace")).rstrip(b"=").decode()


def sign(claims: object, header: object = None, secret: str = SECRET) -> str:
    """Sign with HS256. Not by PyJWT, which rejects most of these claims and headers."""
    head = _encode_part({"alg": "HS256", "typ": "JWT"} if header is None else header)
    body = f"{head}.{_encode_part(claims)}"
    return (
        f"{body}.{base64.urlsafe_b64encode(hmac.digest(secret.encode(), body.encode(), hashlib.sha256)).rstrip(b'=').decode()}"
    )


def valid_token(rng: random.Random, role: str | None = None, subject: str | None = None) -> str:
    """A valid token."""
    role = role or rng.choice(ROLES)
    # The log may contain the subject of staff, never that of a customer.
    subject = subject or f"{CANARY if role == 'customer' else 'staff'}-{rng.randrange(100)}"
    claims: dict[str, Any] = {"role": role, "exp": int(time.time()) + 3600, "sub": subject}
    if rng.random() < 0.5:
        claims["orders"] = [rng.randrange(1, 50) for _ in range(rng.randrange(5))]
    if rng.random() < 0.5:
        claims["iat"] = int(time.time())
    return sign(claims)


# Values of wrong types or ranges, for claims and header fields.
ODD_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.5,
    -0.0,
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    2**31,
    2**63,
    2**64,
    -(2**63),
    10**400,
    253402300800,
    "",
    "0",
    "1e9",
    "nan",
    "admin",
    "ADMIN",
    "root",
    "\0",
    "\ud800",
    "é" * 50,
    CANARY,
    "x" * 2000,
    "none",
    [],
    {},
    [[]],
    [None],
    ["admin"],
    {"admin": True},
    [1, "2"],
    [2**63],
    [True],
    [1.0],
    [-(2**63) - 1],
    list(range(10**6, 10**6 + 500)),
]


def odd_token(rng: random.Random) -> str:
    """A token that is usually invalid. Some happen to be valid, at most with the role viewer."""
    now = int(time.time())
    claims: dict[str, Any] = {"role": rng.choice(ROLES[1:]), "exp": now + 3600, "sub": "staff", "orders": []}
    header: dict[str, Any] = {"alg": "HS256", "typ": "JWT"}
    match rng.randrange(12):
        case 0:  # a valid signature over invalid claims
            for _ in range(rng.randint(1, 3)):
                name = rng.choice(("sub", "orders", "exp", "iat", "nbf", "aud", "iss", "jti"))
                claims[name] = rng.choice(ODD_VALUES)
            if claims["sub"] == CANARY:  # the token may be valid, and the log may contain the subject of staff
                claims["sub"] = "odd"
            return sign(claims)
        case 1:
            del claims[rng.choice(list(claims))]
            return sign(claims)
        case 2:
            claims[rng.choice(("exp", "iat", "nbf"))] = now + rng.choice((-1, 0, 1, 4, 6, -3600, 10**6, 10**9, 10**12, 10**18))
            return sign(claims)
        case 3:
            header[rng.choice(("alg", "kid", "typ", "crit", "b64", "jwk", "x5u", "jku", "cty", "zip"))] = rng.choice(ODD_VALUES)
            return sign(claims, header)
        case 4:
            header["alg"] = rng.choice(
                ("none", "None", "NONE", "RS256", "ES256", "EdDSA", "HS384", "HS512", "hs256", "", "PS256")
            )
            token = sign({**claims, "role": "admin"}, header)
            return token if rng.random() < 0.5 else token.rpartition(".")[0] + "."
        case 5:
            return sign({**claims, "role": "admin"}, secret="another secret of thirty-two bytes or more")
        case 6:
            return sign(rng.choice(ODD_VALUES))
        case 7:
            return sign(claims, rng.choice(ODD_VALUES) or "{")
        case 8:
            parts = valid_token(rng, "viewer").split(".")
            rng.shuffle(parts)
            return ".".join(parts[: rng.randint(0, 3)] + rng.choice(([], [""], ["", ""], parts)))
        case 9:
            return rng.choice(
                (".", "..", "...", "a.b.c", "e30.e30.", "null", "undefined", CANARY, CANARY * 1000, "eyJ", "é.é.é", " ")
            )
        case 10:
            return "".join(rng.choice("abcXYZ019-_=.+/~!%é\u20ac\U0001f600 ") for _ in range(rng.randrange(200)))
        case _:
            return mutate(rng, valid_token(rng, "viewer").encode()).decode("latin-1")
