"""TLS: wss:// without a proxy, and a certificate that is renewed while the server runs."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.helpers.certificates import issue_certificate
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer


async def presented_name(host: str, port: int) -> str:
    """Common name of the certificate that a new connection gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    (name,) = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


async def test_renewed_certificate_is_used_without_a_restart(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, tmp_path: Path
) -> None:
    cert_file, key_file = issue_certificate(tmp_path, "first")
    server: Server = await start_server(database_url, TLS_CERT_FILE=str(cert_file), TLS_KEY_FILE=str(key_file))
    assert server.ws_url.startswith("wss://127.0.0.1:")
    client_context = ssl.create_default_context(cafile=str(cert_file))
    client: Client = await connect(
        server.ws_url, ssl=client_context, headers={"Origin": server.ws_url.replace("wss", "https")[: -len("/api/ws")]}
    )
    await client.wait_until(lambda c: len(c.messages) == 1, "the first message")
    port = int(server.ws_url.split(":")[2].split("/")[0])
    assert await presented_name("127.0.0.1", port) == "first"

    # In the middle of a renewal the key does not match the certificate: the old pair stays in use.
    renewed = tmp_path / "renewed"
    renewed.mkdir()
    new_cert, new_key = issue_certificate(renewed, "second")
    cert_file.write_bytes(new_cert.read_bytes())
    await server.wait_for_line_from_each_worker("keeping the previous one")
    assert await presented_name("127.0.0.1", port) == "first"
    key_file.write_bytes(new_key.read_bytes())
    await server.wait_for_line_from_each_worker("the new certificate is in use")
    assert await presented_name("127.0.0.1", port) == "second"

    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await client.wait_until(lambda c: len(c.events) == 1, "an event on the connection that was opened before")


async def test_plain_http_on_the_tls_port_does_not_disturb_the_server(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    cert_file, key_file = issue_certificate(tmp_path, "name")
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
    assert await presented_name("127.0.0.1", port) == "name"
