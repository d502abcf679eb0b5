"""Logging in to NATS: passwords, tokens, .creds files, TLS; and the one line for each that does not work."""

from __future__ import annotations

import base64
import binascii
import json
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bus.connection import BrokerOptions, open_connection, tls_context
from bus.credentials import Credentials
from bus.local.nodes import BrokerNodes
from push.errors import BusUnavailable
from tests.helpers.certificates import issue_certificate


async def connect(nodes: BrokerNodes, **changes: object) -> None:
    """Connect, and ask for a sign of life."""
    server = str(changes.pop("server", nodes.urls))
    options = BrokerOptions((server,), **changes)  # type: ignore[arg-type]
    async with open_connection(options, server) as connection:
        await connection.client.flush(timeout=5)


async def refusal(nodes: BrokerNodes, **changes: object) -> str:
    with pytest.raises(BusUnavailable) as raised:
        await connect(nodes, **changes)
    return str(raised.value)


def with_login(url: str, login: str) -> str:
    return url.replace("://", f"://{login}@")


async def test_passwords_and_tokens(tmp_path: Path) -> None:
    for extra, right, wrong in (
        ("authorization { user: shop, password: right }", "shop:right", "shop:wrong"),
        ("authorization { token: right }", "right", "wrong"),
    ):
        nodes = BrokerNodes(tmp_path, count=1, extra=extra, jetstream_bytes=0)
        await nodes.start()
        try:
            await connect(nodes, server=with_login(nodes.urls, right))
            for login in (wrong, ""):
                text = await refusal(nodes, server=with_login(nodes.urls, login) if login else nodes.urls)
                assert text.lower() == f"nats at 127.0.0.1:{nodes.ports[0]}: authorization violation"
        finally:
            await nodes.stop()


async def test_tls_is_required_and_verified(tmp_path: Path, node: BrokerNodes) -> None:
    certificate, key = issue_certificate(tmp_path, "nats")
    nodes = BrokerNodes(tmp_path, count=1, extra=f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}', jetstream_bytes=0)
    await nodes.start()
    try:
        secure = nodes.urls.replace("nats://", "tls://")
        await connect(nodes, server=secure, tls=tls_context(str(certificate), None, None))
        assert "its certificate is not trusted: " in await refusal(nodes, server=secure, tls=tls_context(None, None, None))
    finally:
        await nodes.stop()
    # A node without TLS gets no credentials.
    plain = with_login(node.urls.replace("nats://", "tls://"), "shop:secret")
    assert "does not require TLS" in await refusal(node, server=plain, tls=tls_context(str(certificate), None, None))


# ---------------------------------------------------------------- .creds files


class Identity(NamedTuple):
    """A key of NATS, with its public name and its seed as texts."""

    key: Ed25519PrivateKey
    name: str
    seed: str

    @classmethod
    def create(cls, kind: int) -> Identity:
        key = Ed25519PrivateKey.generate()
        raw = key.private_bytes_raw()
        return cls(
            key,
            _encode(bytes([kind]) + key.public_key().public_bytes_raw()),
            _encode(bytes([18 << 3 | kind >> 5, (kind & 31) << 3]) + raw),
        )

    def issue(self, subject: Identity, kind: str, **fields: object) -> str:
        """A JWT about ``subject``, as nsc writes it."""
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        claims = {
            "jti": "x",
            "iat": int(time.time()),
            "iss": self.name,
            "name": kind,
            "sub": subject.name,
            "nats": {"type": kind, "version": 2, **fields},
        }
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{_base64(self.key.sign(signed.encode()))}"


def _encode(data: bytes) -> str:
    return base64.b32encode(data + binascii.crc_hqx(data, 0).to_bytes(2, "little")).decode().rstrip("=")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3
UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
ACCOUNT_LIMITS = {**UNLIMITED, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}


def write_credentials(path: Path, jwt: str, seed: str) -> str:
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    return str(path)


async def test_a_credentials_file(tmp_path: Path) -> None:
    operator, account, user, stranger = (Identity.create(kind) for kind in (OPERATOR, ACCOUNT, USER, USER))
    account_jwt = operator.issue(account, "account", limits=ACCOUNT_LIMITS)
    extra = (
        f"operator: {operator.issue(operator, 'operator')}\n"
        f"resolver: MEMORY\nresolver_preload: {{ {account.name}: {account_jwt} }}"
    )
    nodes = BrokerNodes(tmp_path, count=1, extra=extra, jetstream_bytes=0)
    await nodes.start()
    try:
        jwt = account.issue(user, "user", pub={}, sub={}, **UNLIMITED)
        await connect(nodes, credentials_file=write_credentials(tmp_path / "user.creds", jwt, user.seed))
        text = await refusal(nodes, credentials_file=write_credentials(tmp_path / "other.creds", jwt, stranger.seed))
        assert "authorization violation" in text.lower()
        text = await refusal(nodes, credentials_file=str(tmp_path / "missing.creds"))
        assert text.startswith("BROKER_CREDENTIALS_FILE: ")
    finally:
        await nodes.stop()


@pytest.mark.parametrize("text", ["", "x" * 100, "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n"])
def test_another_file_is_no_credentials_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.creds"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.creds is not a \.creds file of NATS"):
        Credentials.read(str(path))
    write_credentials(path, "jwt", "NOTASEED")
    with pytest.raises(ValueError, match=r"is not a \.creds file"):
        Credentials.read(str(path))
