"""gateway.net.tls: errors of the files at startup, and reloading them when they change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from gateway.net import tls
from gateway.net.tls import Certificate
from settings import BadSetting
from tests.helpers.certificates import issue_certificate
from tests.support import TIMEOUT_SECONDS, within


def presented_name(context: ssl.SSLContext) -> str:
    """Common name of the certificate that a new handshake with this server context presents."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    der = client.getpeercert(binary_form=True)
    assert der is not None
    (name,) = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(name.value)


def test_unusable_files_are_reported_in_one_line(tmp_path: Path) -> None:
    cert_file, key_file = issue_certificate(tmp_path, "name")
    (tmp_path / "rubbish").write_text("rubbish")
    for pair, reason in (
        ((tmp_path / "none", key_file), "No such file"),
        ((tmp_path / "rubbish", key_file), "not a certificate"),
        ((cert_file, tmp_path / "rubbish"), "not a certificate"),
        ((key_file, cert_file), "not a certificate"),
    ):
        with pytest.raises(BadSetting, match=reason) as raised:
            Certificate(str(pair[0]), str(pair[1]))
        assert "\n" not in str(raised.value)
    assert tls.POLL_SECONDS < TIMEOUT_SECONDS


def test_encrypted_key_is_an_error_and_not_a_prompt(tmp_path: Path) -> None:
    cert_file, key_file = issue_certificate(tmp_path, "name")
    key = load_pem_private_key(key_file.read_bytes(), None)
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")))
    with pytest.raises(BadSetting, match="encrypted with a password"):
        Certificate(str(cert_file), str(key_file))


@pytest.fixture
async def certificate(tmp_path: Path) -> AsyncIterator[Certificate]:
    """Of the files in ``tmp_path``, which are polled every 10 ms."""
    cert_file, key_file = issue_certificate(tmp_path, "first")
    certificate = Certificate(str(cert_file), str(key_file), poll_seconds=0.01)
    task = asyncio.create_task(certificate.run())
    yield certificate
    task.cancel()


async def test_changed_files_are_used_for_new_handshakes(certificate: Certificate, tmp_path: Path, caplog: Any) -> None:
    async def wait_for_log(text: str) -> None:
        while text not in caplog.text:
            await asyncio.sleep(0.01)

    assert presented_name(certificate.context) == "first"
    (tmp_path / "new").mkdir()
    new_cert, new_key = issue_certificate(tmp_path / "new", "second")
    with caplog.at_level(logging.INFO, "orderwire.tls"):
        (tmp_path / "cert.pem").write_bytes(new_cert.read_bytes())
        await within(TIMEOUT_SECONDS, wait_for_log("keeping the previous one"), "the key does not match yet")
        assert presented_name(certificate.context) == "first"
        (tmp_path / "key.pem").write_bytes(new_key.read_bytes())
        await within(TIMEOUT_SECONDS, wait_for_log("the new certificate is in use"), "the reload")
    assert presented_name(certificate.context) == "second"


async def test_removed_files_keep_the_certificate_in_use(certificate: Certificate, tmp_path: Path, caplog: Any) -> None:
    async def wait_for_log() -> None:
        while "No such file" not in caplog.text:
            await asyncio.sleep(0.01)

    (tmp_path / "cert.pem").unlink()
    await within(TIMEOUT_SECONDS, wait_for_log(), "the warning")
    assert presented_name(certificate.context) == "first"
