"""wss:// directly, and a certificate that is renewed while the server runs."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.net import tls
from gateway.net.tls import Certificate
from settings import BadSetting
from tests.helpers.tokens import private_pem
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer


def issue(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    key_file.write_text(private_pem(key))
    cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return cert_file, key_file


async def presented(host: str, port: int) -> str:
    """Common name of the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    [name] = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


async def test_wss_and_a_renewal_without_a_restart(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, tmp_path: Path
) -> None:
    cert_file, key_file = issue(tmp_path, "first")
    server: Server = await start_server(database_url, TLS_CERT_FILE=str(cert_file), TLS_KEY_FILE=str(key_file))
    assert server.ws_url.startswith("wss://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=str(cert_file))
    client: Client = await connect(
        server.ws_url, ssl=trusting, headers={"Origin": server.ws_url.replace("wss", "https")[: -len("/api/ws")]}
    )
    await client.wait_until(lambda c: len(c.messages) == 1, "first frame")
    port = int(server.ws_url.split(":")[2].split("/")[0])
    assert await presented("127.0.0.1", port) == "first"

    # In the midst of a renewal the two do not fit: the old pair stays.
    other = tmp_path / "other"
    other.mkdir()
    new_cert, new_key = issue(other, "second")
    cert_file.write_bytes(new_cert.read_bytes())
    await server.wait_for_line_from_each_worker("keeping the previous one")
    assert await presented("127.0.0.1", port) == "first"
    key_file.write_bytes(new_key.read_bytes())
    await server.wait_for_line_from_each_worker("the new certificate is in use")
    assert await presented("127.0.0.1", port) == "second"

    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await client.wait_until(lambda c: len(c.events) == 1, "an event on the connection from before")


async def test_plain_http_on_a_tls_port_harms_nobody(start_server: StartServer, database_url: str, tmp_path: Path) -> None:
    cert_file, key_file = issue(tmp_path, "name")
    server: Server = await start_server(
        database_url, TLS_CERT_FILE=str(cert_file), TLS_KEY_FILE=str(key_file), IDLE_SECONDS="0.5"
    )
    port = int(server.ws_url.split(":")[2].split("/")[0])
    for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await reader.read()
        writer.close()
    assert await presented("127.0.0.1", port) == "name"


def test_files_that_cannot_be_used_are_said_in_one_line(tmp_path: Path) -> None:
    cert_file, key_file = issue(tmp_path, "name")
    (tmp_path / "rubbish").write_text("rubbish")
    for pair, why in (
        ((tmp_path / "none", key_file), "No such file"),
        ((tmp_path / "rubbish", key_file), "not a certificate"),
        ((cert_file, tmp_path / "rubbish"), "not a certificate"),
        ((key_file, cert_file), "not a certificate"),
    ):
        with pytest.raises(BadSetting, match=why) as raised:
            Certificate(str(pair[0]), str(pair[1]))
        assert "\n" not in str(raised.value)
    assert tls.POLL_SECONDS < TIMEOUT_SECONDS
