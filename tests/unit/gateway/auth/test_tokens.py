"""gateway.auth.tokens: what a token grants, when it is denied, revocation, and signing."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.auth.jwks import FixedKey, load_public_key, secret_key
from gateway.auth.tokens import (
    LEEWAY_SECONDS,
    MAX_TIMESTAMP,
    MAX_TOKEN_BYTES,
    TokenVerifier,
    sign_token,
    verifier_from_settings,
)
from push.protocol.access import ANONYMOUS_GRANT, AccessDenied, Role
from push.protocol.messages import CloseCode
from settings import BadSetting, Settings
from tests.fuzz.tokens import SECRET as FUZZ_SECRET
from tests.fuzz.tokens import odd_token, sign, valid_token
from tests.helpers.builders import make_event
from tests.helpers.tokens import (
    ED25519,
    P256,
    P384,
    P521,
    RSA,
    SECRET,
    hs256_token,
    private_pem,
    public_pem,
    token,
    unsigned_token,
)

SECRET_KEY = FixedKey(secret_key(SECRET))


async def denied(sent: str, verifier: TokenVerifier | None = None) -> CloseCode:
    with pytest.raises(AccessDenied) as raised:
        await (verifier or TokenVerifier(SECRET_KEY)).verify(sent)
    return raised.value.close_code


async def test_without_keys_no_login_is_required() -> None:
    verifier = TokenVerifier(None)
    assert not verifier.login_required
    assert await verifier.verify("anything") is ANONYMOUS_GRANT


async def test_a_token_grants_its_role_subject_orders_and_expiry() -> None:
    expiry = int(time.time()) + 600
    grant = await TokenVerifier(SECRET_KEY).verify(
        token("customer", sub="anna", orders=[1, "2", "a/b", 2**63 - 1], exp=expiry, iat=5)
    )
    keys = frozenset(["1", "2", "a/b", str(2**63 - 1)])
    assert (grant.role, grant.subject, grant.order_keys) == (Role.CUSTOMER, "anna", keys)
    assert (grant.expires_at, grant.issued_at) == (expiry, 5.0)


async def test_an_expiry_beyond_the_year_9999_is_cut() -> None:
    assert (await TokenVerifier(SECRET_KEY).verify(token(exp=10**15))).expires_at == MAX_TIMESTAMP


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    ["1", "4102444800", "", True, False, None, [], {}, [4102444800], "NaN", "Infinity", "-Infinity", "1e400", "10**400"],
)
async def test_a_time_that_is_no_number_is_denied(name: str, value: Any) -> None:
    """RFC 7519 section 2, NumericDate: a JSON number. Python's json also reads NaN and infinities."""
    claims = {"role": "admin", "exp": int(time.time()) + 600, name: "VALUE"}
    text = {"NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity", "1e400": "1e400", "10**400": "1" + "0" * 400}
    body = json.dumps(claims).replace('"VALUE"', text.get(str(value), json.dumps(value)))
    assert await denied(sign(body, secret=SECRET)) is CloseCode.INVALID_TOKEN


async def test_a_time_may_have_a_fraction() -> None:
    now = time.time()
    grant = await TokenVerifier(SECRET_KEY).verify(sign({"role": "admin", "exp": now + 600.5, "iat": now - 0.5}, secret=SECRET))
    assert grant.issued_at == now - 0.5


@pytest.mark.parametrize("subject", ["", " ", "\t\n", "\u00a0"])
async def test_a_blank_subject_is_none(subject: str) -> None:
    """Orders without a customer may have an empty customer_id: they are nobody's."""
    assert await denied(token("customer", sub=subject)) is CloseCode.NOT_PERMITTED
    assert await denied(token("customer", sub=subject, orders=[])) is CloseCode.NOT_PERMITTED
    grant = await TokenVerifier(SECRET_KEY).verify(token("customer", sub=subject, orders=[1]))
    assert grant.subject is None
    assert grant.view(make_event(order_key="2", customer_id=subject)) is None
    assert (await TokenVerifier(SECRET_KEY).verify(token("admin", sub=subject))).subject is None


async def test_a_critical_header_that_is_not_understood_is_denied() -> None:
    """RFC 7515 section 4.1.11."""
    claims = {"role": "admin", "exp": int(time.time()) + 600}
    header = {"alg": "HS256", "crit": ["x"], "x": 1}
    assert await denied(sign(claims, header, SECRET)) is CloseCode.INVALID_TOKEN


async def test_the_leeway_applies_to_nbf_and_iat_but_not_to_exp() -> None:
    now = time.time()
    soon, late = int(now + LEEWAY_SECONDS / 2), int(now + 10 * LEEWAY_SECONDS)
    verifier = TokenVerifier(SECRET_KEY)
    assert (await verifier.verify(token(nbf=soon, iat=soon))).role is Role.ADMIN
    assert await denied(token(nbf=late)) is CloseCode.INVALID_TOKEN
    assert await denied(token(iat=late)) is CloseCode.INVALID_TOKEN
    assert await denied(token(exp=int(now) - 1)) is CloseCode.TOKEN_EXPIRED
    assert await denied(token(exp=int(now) - 3600)) is CloseCode.TOKEN_EXPIRED


@pytest.mark.parametrize(
    ("sent", "close_code"),
    [
        ("", CloseCode.INVALID_TOKEN),
        ("a.b.c", CloseCode.INVALID_TOKEN),
        ("x" * (MAX_TOKEN_BYTES + 1), CloseCode.INVALID_TOKEN),
        (unsigned_token(), CloseCode.INVALID_TOKEN),
        (token(key="another secret of 32 bytes or more"), CloseCode.INVALID_TOKEN),
        (token(exp=None), CloseCode.INVALID_TOKEN),
        (token(sub="a\0b"), CloseCode.INVALID_TOKEN),
        (token(sub="\ud800"), CloseCode.INVALID_TOKEN),
        (token("customer", orders=[""]), CloseCode.INVALID_TOKEN),
        (token("customer", orders=["a\0"]), CloseCode.INVALID_TOKEN),
        (token("customer", orders=["\ud800"]), CloseCode.INVALID_TOKEN),
        (token("customer", orders=["k" * 201]), CloseCode.INVALID_TOKEN),
        (token("customer", orders=[1.0]), CloseCode.INVALID_TOKEN),
        (token("customer", orders=[True]), CloseCode.INVALID_TOKEN),
        (token("customer", orders=[2**63]), CloseCode.INVALID_TOKEN),
        (token("customer", orders=7), CloseCode.INVALID_TOKEN),
        (token("owner"), CloseCode.NOT_PERMITTED),
        (token(None), CloseCode.NOT_PERMITTED),
        (token("customer"), CloseCode.NOT_PERMITTED),
    ],
    ids=[
        # Not the tokens: these contain the time, and pytest-xdist needs the same ids in all of its processes.
        "empty",
        "three parts",
        "too long",
        "unsigned",
        "another key",
        "no expiry",
        "subject with NUL",
        "subject with a surrogate",
        "empty key",
        "key with NUL",
        "key with a surrogate",
        "key too long",
        "order with a fraction",
        "orders of booleans",
        "order out of range",
        "orders not a list",
        "unknown role",
        "no role",
        "customer without a subject",
    ],
)
async def test_an_unusable_token_is_denied(sent: str, close_code: CloseCode) -> None:
    assert await denied(sent) is close_code


async def test_a_public_key_is_not_a_secret() -> None:
    """A token signed with HS256 and the public key as the secret is invalid: the key has one algorithm."""
    verifier = TokenVerifier(FixedKey(load_public_key(public_pem(RSA))))
    claims = {"role": "admin", "exp": int(time.time()) + 600}
    assert (await verifier.verify(token(key=RSA, algorithm="RS256"))).role is Role.ADMIN
    for secret in (
        public_pem(RSA).encode(),
        public_pem(RSA).strip().encode(),
        b"",
        RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ):
        for algorithm in ("HS256", "hs256", "RS256", "PS256", "none"):
            assert await denied(hs256_token({"alg": algorithm}, claims, secret), verifier) is CloseCode.INVALID_TOKEN


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS512"), (RSA, "PS256"), (RSA, "PS512"), (P384, "ES384"), (P521, "ES512")]
)
async def test_every_algorithm_of_a_public_key_is_verified(key: Any, algorithm: str) -> None:
    verifier = TokenVerifier(FixedKey(load_public_key(public_pem(key))))
    assert (await verifier.verify(token(key=key, algorithm=algorithm))).role is Role.ADMIN


async def test_audience_and_issuer_are_checked_if_they_are_set() -> None:
    verifier = TokenVerifier(SECRET_KEY, "orderwire", "https://login.example")
    good: dict[str, Any] = {"aud": ["other", "orderwire"], "iss": "https://login.example"}
    assert (await verifier.verify(token(**good))).role is Role.ADMIN
    for claims in ({**good, "aud": "other"}, {**good, "iss": "other"}, {**good, "aud": None}, {**good, "iss": None}):
        assert await denied(token(**claims), verifier) is CloseCode.INVALID_TOKEN
    assert (await TokenVerifier(SECRET_KEY).verify(token(aud="any", iss="any"))).role is Role.ADMIN


async def test_a_revocation_covers_tokens_issued_up_to_its_time_and_the_leeway() -> None:
    """A clock that is fast by up to the leeway dates tokens after the revocation that were issued before it."""
    now = int(time.time())
    verifier = TokenVerifier(SECRET_KEY)
    old = await verifier.verify(token(sub="anna", iat=now - 20))
    fast = await verifier.verify(token(sub="anna", iat=int(now - 20 + LEEWAY_SECONDS)))
    undated = await verifier.verify(token(sub="anna", iat=None))
    other = await verifier.verify(token(sub="jan", iat=now - 20))
    assert verifier.update_revocations({"anna": now - 20.0})
    assert not verifier.update_revocations({"anna": now - 20.0})
    assert [verifier.is_valid(grant) for grant in (old, fast, undated, other)] == [False, False, False, True]
    assert await denied(token(sub="anna", iat=now - 20), verifier) is CloseCode.INVALID_TOKEN
    assert (await verifier.verify(token(sub="anna", iat=int(now - 19 + LEEWAY_SECONDS)))).subject == "anna"
    assert verifier.update_revocations({})
    assert verifier.is_valid(old)


async def test_a_token_from_the_future_does_not_survive_a_revocation() -> None:
    now = time.time()
    verifier = TokenVerifier(SECRET_KEY)
    grant = await verifier.verify(sign({"role": "admin", "sub": "anna", "exp": now + 600, "iat": now + 4}, secret=SECRET))
    verifier.update_revocations({"anna": time.time()})
    assert not verifier.is_valid(grant)


ROLE_CLAIMS: list[tuple[dict[str, str], dict[str, Any], Role | None]] = [
    # Keycloak
    ({"JWT_ROLE_CLAIM": "realm_access.roles"}, {"realm_access": {"roles": ["offline_access", "viewer"]}}, Role.VIEWER),
    ({"JWT_ROLE_CLAIM": "realm_access.roles"}, {"realm_access": {"roles": ["customer", "admin", "viewer"]}}, Role.ADMIN),
    ({"JWT_ROLE_CLAIM": "resource_access.shop.app.roles"}, {"resource_access": {"shop.app": {"roles": ["admin"]}}}, Role.ADMIN),
    # Auth0: a claim of one's own is named by a URL
    ({"JWT_ROLE_CLAIM": "https://shop.example/roles"}, {"https://shop.example/roles": ["viewer"]}, Role.VIEWER),
    ({"JWT_ROLE_CLAIM": "https://shop.example/app.roles"}, {"https://shop.example/app": {"roles": "viewer"}}, Role.VIEWER),
    # Supabase, Cognito
    ({"JWT_ROLE_MAP": "authenticated:customer,shop-admin:admin"}, {"role": "authenticated"}, Role.CUSTOMER),
    ({"JWT_ROLE_CLAIM": "app_metadata.role", "JWT_ROLE_MAP": "a:admin"}, {"app_metadata": {"role": "a"}}, Role.ADMIN),
    (
        {"JWT_ROLE_CLAIM": "cognito:groups", "JWT_ROLE_MAP": "urn:shop:staff:viewer"},
        {"cognito:groups": ["urn:shop:staff"]},
        Role.VIEWER,
    ),
    ({}, {"role": ["viewer"]}, Role.VIEWER),
    # A list may hold anything; only names in the map count.
    ({"JWT_ROLE_MAP": "shop-admin:admin"}, {"role": [None, 7, ["shop-admin"], "admin", "shop-admin"]}, Role.ADMIN),
    ({"JWT_ROLE_MAP": "shop-admin:admin"}, {"role": ["admin"]}, None),
    ({"JWT_ROLE_MAP": "shop-admin:admin"}, {"role": "admin"}, None),
    ({"JWT_ROLE_CLAIM": "realm_access.roles"}, {"role": "admin"}, None),
    ({"JWT_ROLE_CLAIM": "realm_access.roles"}, {"realm_access": ["roles", "admin"]}, None),
    ({"JWT_ROLE_CLAIM": "realm_access.roles"}, {"realm_access": {"roles": {"admin": True}}}, None),
    ({"JWT_ROLE_CLAIM": "realm_access.roles"}, {"realm_access": "roles"}, None),
    ({}, {"role": "Admin"}, None),
    ({}, {"role": "admin viewer"}, None),
    ({}, {"role": []}, None),
    ({}, {"role": {}}, None),
    ({}, {"role": True}, None),
]


@pytest.mark.parametrize(("settings", "claims", "role"), ROLE_CLAIMS)
async def test_the_role_is_where_the_settings_say(settings: dict[str, str], claims: dict[str, Any], role: Role | None) -> None:
    verifier, _ = verifier_from_settings(Settings.from_environment({"JWT_SECRET": SECRET, **settings}))
    sent = sign({"sub": "anna", "exp": int(time.time()) + 60, **claims}, secret=SECRET)
    if role is None:
        assert await denied(sent, verifier) is CloseCode.NOT_PERMITTED
    else:
        assert (await verifier.verify(sent)).role is role


@pytest.mark.parametrize("settings", [settings for settings, _, role in ROLE_CLAIMS if role is not None])
async def test_a_signed_token_has_its_role_where_the_settings_say(settings: dict[str, str]) -> None:
    configured = Settings.from_environment({"JWT_SECRET": SECRET, **settings})
    verifier, _ = verifier_from_settings(configured)
    for role in Role:
        claims = {"role": role.value, "sub": "anna", "exp": int(time.time()) + 60}
        if "JWT_ROLE_MAP" in settings and f":{role}" not in settings["JWT_ROLE_MAP"]:
            with pytest.raises(BadSetting, match=f"JWT_ROLE_MAP names no role for {role}"):
                sign_token(configured, claims)
        else:
            assert (await verifier.verify(sign_token(configured, claims))).role is role


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (P256, "ES256"), (P384, "ES384"), (P521, "ES512"), (ED25519, "EdDSA")]
)
async def test_a_signed_token_is_verified_with_the_public_key(tmp_path: Path, key: Any, algorithm: str) -> None:
    file = tmp_path / "private.pem"
    file.write_text(private_pem(key))
    settings = Settings.from_environment({"JWT_PUBLIC_KEY": public_pem(key), "JWT_AUDIENCE": "a", "JWT_ISSUER": "i"})
    verifier, remote_keys = verifier_from_settings(settings)
    assert remote_keys is None
    sent = sign_token(settings, {"role": "viewer", "exp": int(time.time()) + 60}, str(file))
    assert (await verifier.verify(sent)).role is Role.VIEWER


async def test_a_token_signed_with_the_secret_is_verified_with_it() -> None:
    settings = Settings.from_environment({"JWT_SECRET": SECRET})
    verifier, _ = verifier_from_settings(settings)
    sent = sign_token(settings, {"role": "viewer", "exp": int(time.time()) + 60})
    assert (await verifier.verify(sent)).role is Role.VIEWER


def test_a_key_set_has_to_be_kept_fresh() -> None:
    verifier, remote_keys = verifier_from_settings(Settings.from_environment({"JWT_JWKS_URL": "https://login.example/jwks"}))
    assert verifier.login_required
    assert remote_keys is not None


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (None, "nothing to sign with: set JWT_SECRET to the server's key, or give --key"),
        ("none.pem", "none.pem: No such file or directory"),
        ("text.pem", "text.pem: no private key in PEM form"),
        ("bytes.pem", "bytes.pem: no private key in PEM form"),
    ],
)
def test_signing_without_a_usable_key_is_a_bad_setting(tmp_path: Path, file: str | None, reason: str) -> None:
    (tmp_path / "text.pem").write_text("text")
    (tmp_path / "bytes.pem").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match=reason):
        sign_token(Settings.from_environment({}), {"role": "admin"}, None if file is None else str(tmp_path / file))


@pytest.mark.parametrize("seed", range(20))
async def test_an_arbitrary_token_is_denied_or_does_not_grant_admin(seed: int) -> None:
    rng = random.Random(seed)
    verifier, _ = verifier_from_settings(Settings.from_environment({"JWT_SECRET": FUZZ_SECRET}))
    assert (await verifier.verify(valid_token(rng, "admin"))).role is Role.ADMIN
    for _ in range(500):
        sent = odd_token(rng)
        try:
            grant = await verifier.verify(sent)
        except AccessDenied:
            continue
        assert grant.role is not Role.ADMIN, sent
