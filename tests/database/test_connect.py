"""db/connect.py: TLS, files and parameters of the address, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from db.connect import connect
from db.embedded.binaries import _candidate_directories, major_version
from db.embedded.postgres import EmbeddedPostgres
from db.errors import BadDatabaseUrl, DatabaseError, DatabaseMisconfigured, DatabaseUnavailable, name_server, wrap_driver_errors
from tests.helpers.tokens import private_pem
from tests.support import TIMEOUT_SECONDS, Process, Server, StartServer, free_port, within

HAS_TLS = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"


def issue(directory: Path, name: str, issuer: tuple[x509.Name, Any] | None = None) -> tuple[Path, Path, tuple[x509.Name, Any]]:
    """A certificate for the address 127.0.0.1, signed by ``issuer`` or by itself: its file, that of its key, and both."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_name, issuer_key = issuer or (subject, key)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    cert_file, key_file = directory / f"{name}.crt", directory / f"{name}.key"
    cert_file.write_bytes(builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    key_file.write_text(private_pem(key))
    return cert_file, key_file, (subject, key)


@pytest.fixture(autouse=True)
async def _no_socket_outlives_the_event_loop() -> AsyncIterator[None]:
    """The driver does not wait for the end of a TLS connection that PostgreSQL refuses: a later test would get
    the warning about its socket.
    """
    yield
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while len(selector.get_map()) > 1:  # the loop's own
            await asyncio.sleep(0.005)


class TlsServer:
    """A PostgreSQL with a certificate for 127.0.0.1, and not for localhost. ``root`` has signed it, and ``other`` has not.

    Role ``plain`` may log in only without TLS, ``encrypted`` only with it, ``certified`` only with a certificate of its own.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def address(self, query: str, role: str = "encrypted", host: str = "127.0.0.1") -> str:
        port = self.url.rsplit(":", 1)[1].split("/")[0]
        return f"postgresql://{role}:secret@{host}:{port}/postgres?{query.replace('DIR', str(self.directory))}"


HBA = """
local all all scram-sha-256
hostnossl all plain 127.0.0.1/32 scram-sha-256
hostssl all encrypted 127.0.0.1/32 scram-sha-256
hostssl all certified 127.0.0.1/32 cert
host all postgres 127.0.0.1/32 scram-sha-256
"""


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    directory = tmp_path_factory.mktemp("tls")
    candidates = [path for path in _candidate_directories() if major_version(path)]
    built_with_tls = [path for path in candidates if b"libssl" in (path / "postgres").read_bytes()]
    if not built_with_tls:
        pytest.skip("no PostgreSQL that was built with TLS is installed")
    server = EmbeddedPostgres(directory / "data", report=lambda line: None)
    server.bin_dir = built_with_tls[0]
    url = server.start()
    *_, root = issue(directory, "root")
    issue(directory, "other")
    certificate, key, _ = issue(directory, "server", root)
    issue(directory, "certified", root)

    async def prepare() -> None:
        connection = await asyncpg.connect(url, ssl=False)
        data = await connection.fetchval("show data_directory")
        # By PostgreSQL itself, which may run as another user.
        files = {"server.crt": certificate, "server.key": key, "root.crt": directory / "root.crt"}
        texts = {name: path.read_text() for name, path in files.items()} | {"pg_hba.conf": HBA}
        for name, text in texts.items():
            await connection.execute("create temp table file (line text)")
            await connection.executemany("insert into file values ($1)", [(line,) for line in text.splitlines()])
            await connection.execute(f"copy file to program 'umask 077; cat > {data}/{name}'")
            await connection.execute("drop table file")
        for setting in ("ssl = on", "ssl_ca_file = 'root.crt'"):
            await connection.execute(f"alter system set {setting}")
        for role in ("plain", "encrypted", "certified"):
            await connection.execute(f"create role {role} login password 'secret'")
        await connection.execute("select pg_reload_conf()")
        await connection.close()

    asyncio.run(prepare())
    yield TlsServer(url, directory)
    server.release()


@pytest.fixture
def hidden_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No certificate of the person who runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.postgres
@pytest.mark.usefixtures("hidden_home")
@pytest.mark.parametrize(
    ("query", "role", "encrypted"),
    [
        ("sslmode=disable", "plain", False),
        ("sslmode=allow", "plain", False),
        ("sslmode=allow", "encrypted", True),
        ("sslmode=prefer", "plain", False),
        ("sslmode=prefer", "encrypted", True),
        ("", "encrypted", True),
        ("sslmode=no-verify", "encrypted", True),
        ("sslmode=require", "encrypted", True),
        ("ssl=true", "encrypted", True),
        ("sslmode=require&sslrootcert=DIR/root.crt", "encrypted", True),
        ("sslmode=verify-ca&sslrootcert=DIR/root.crt", "encrypted", True),
        ("sslmode=verify-full&sslrootcert=DIR/root.crt", "encrypted", True),
        ("sslmode=require&channel_binding=require&gssencmode=prefer&keepalives=1", "encrypted", True),
        ("sslmode=require&sslcert=DIR/certified.crt&sslkey=DIR/certified.key", "certified", True),
        ("sslmode=require&ssl_min_protocol_version=TLSv1.3", "encrypted", True),
    ],
)
async def test_sslmode_that_fits_the_server(tls_server: TlsServer, query: str, role: str, encrypted: bool) -> None:
    connection = await connect(tls_server.address(query, role))
    assert await connection.fetchval(HAS_TLS) is encrypted
    connection.terminate()  # close() leaves the end of TLS to the event loop, which ends with the test


@pytest.mark.postgres
@pytest.mark.usefixtures("hidden_home")
@pytest.mark.parametrize(
    ("query", "role", "host", "text"),
    [
        ("sslmode=disable", "encrypted", "127.0.0.1", "refuses the connection: no pg_hba.conf entry .* no encryption"),
        ("sslmode=require", "plain", "127.0.0.1", "refuses the connection: no pg_hba.conf entry .* SSL encryption"),
        ("sslmode=prefer", "nobody", "127.0.0.1", "refuses the connection: no pg_hba.conf entry .* SSL encryption"),
        (
            "sslmode=require&sslrootcert=DIR/other.crt",
            "encrypted",
            "127.0.0.1",
            "cannot be reached: its certificate is not trusted",
        ),
        (
            "sslmode=verify-ca&sslrootcert=DIR/other.crt",
            "encrypted",
            "127.0.0.1",
            "cannot be reached: its certificate is not trusted",
        ),
        (
            "sslmode=verify-full&sslrootcert=system",
            "encrypted",
            "127.0.0.1",
            "cannot be reached: its certificate is not trusted",
        ),
        (
            "sslmode=verify-full&sslrootcert=DIR/root.crt",
            "encrypted",
            "localhost",
            "cannot be reached: its certificate is not trusted: Hostname mismatch",
        ),
        ("sslmode=require", "certified", "127.0.0.1", "refuses the connection: connection requires a valid client certificate"),
        (
            "sslmode=prefer&connect_timeout=30",
            "encrypted:wrong",
            "127.0.0.1",
            "refuses the connection: password authentication failed",
        ),
    ],
)
async def test_sslmode_that_does_not_fit_is_an_error_at_once(
    tls_server: TlsServer, query: str, role: str, host: str, text: str
) -> None:
    url = tls_server.address(query, role, host).replace(":wrong:secret", ":wrong")
    with pytest.raises(DatabaseMisconfigured, match=rf"^PostgreSQL at {host}:\d+ \(DATABASE_URL\) {text}"):
        await attempt(url)


async def attempt(url: str) -> None:
    with name_server(url, "DATABASE_URL"), wrap_driver_errors():
        connection = await within(TIMEOUT_SECONDS, connect(url), "a connection or an error")
        connection.terminate()


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["require", "verify-ca&sslrootcert=system"])
async def test_server_without_tls_is_an_error_at_once(database_url: str, mode: str) -> None:
    if mode != "require":
        mode = "verify-full&sslrootcert=system"
    with pytest.raises(DatabaseMisconfigured, match="it does not offer TLS, which the sslmode of the address asks for"):
        await attempt(f"{database_url}?sslmode={mode}")


@pytest.mark.postgres
@pytest.mark.parametrize("home", ["", "/nonexistent", "/dev/null", "/" + "x" * 300, "a\0b"])
@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
async def test_an_unreachable_home_does_not_matter(
    database_url: str, monkeypatch: pytest.MonkeyPatch, home: str, mode: str
) -> None:
    if "\0" in home:
        monkeypatch.setattr(Path, "home", lambda: Path(home))
    else:
        monkeypatch.setenv("HOME", home)
    await attempt(f"{database_url}?sslmode={mode}")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "sslmode=require&sslrootcert=/no/ca.pem",
            "sslrootcert=/no/ca.pem to be a file that can be read: No such file or directory",
        ),
        ("sslrootcert=/no/ca.pem", "sslrootcert=/no/ca.pem to be a file that can be read: No such file or directory"),
        ("sslcert=/no/own.pem", "sslcert=/no/own.pem to be a file that can be read: No such file or directory"),
        ("sslcert=FILE&sslkey=/no/own.key", "sslkey=/no/own.key to be a file that can be read: No such file or directory"),
        ("sslmode=require&sslrootcert=FILE", "sslrootcert=FILE to have certificates in PEM form"),
        ("sslcert=FILE", "sslcert=FILE and its sslkey to be a certificate and its key in PEM form, with the right sslpassword"),
        (
            "sslmode=verify-ca",
            "a root certificate for sslmode=verify-ca: sslrootcert=FILE, or sslrootcert=system for the roots of",
        ),
        (
            "sslmode=verify-full",
            "a root certificate for sslmode=verify-full: sslrootcert=FILE, or sslrootcert=system for the roots",
        ),
        ("passfile=/no/pass", "passfile=/no/pass to be a file that can be read: No such file or directory"),
        ("service=shop", "service=shop to be in PGSERVICEFILE or ~/.pg_service.conf"),
    ],
)
@pytest.mark.usefixtures("hidden_home")
async def test_a_file_that_cannot_be_used_is_named_at_once(tmp_path: Path, query: str, text: str) -> None:
    file = tmp_path / "file.pem"
    file.write_text("no certificate\n")
    url = "postgresql://u:p@127.0.0.1:1/d?" + query.replace("FILE", str(file))
    with pytest.raises(BadDatabaseUrl) as raised:
        await attempt(url)
    assert str(raised.value).startswith(
        "DATABASE_URL is not usable: expected "
        + text.replace("=FILE", f"={file}", 1).replace(f"sslrootcert={file}, or", "sslrootcert=FILE, or")
    )


async def test_a_missing_file_ends_the_server_at_once(tmp_path: Path) -> None:
    url = f"postgresql://u:p@127.0.0.1:1/d?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem"
    process = await Process.start(sys.executable, "server.py", "serve", env={"DATABASE_URL": url, "PORT": "0"})
    assert await process.wait_for_exit() == 2
    assert process.lines == [
        f"server.py: DATABASE_URL is not usable: expected sslrootcert={tmp_path}/ca.pem to be a file that can be read: "
        "No such file or directory"
    ]


async def test_parameters_without_effect_are_logged_once(start_server: StartServer, database_url: str) -> None:
    server = await start_server(f"{database_url}?channel_binding=prefer&pgbouncer=true&schema=public&connect_timeout=10")
    said = "DATABASE_URL: these parameters have no effect here: pgbouncer=true, schema=public"
    assert [said in line for line in server.lines].count(True) == 1


async def test_name_options_and_timeout_reach_postgresql(database_url: str) -> None:
    url = f"{database_url}?application_name=shop&options=-c%20geqo%3Doff+-c+statement_timeout%3D1234&connect_timeout=7"
    connection = await connect(url, "orderwire listener")
    shown = [await connection.fetchval(f"show {name}") for name in ("application_name", "geqo", "statement_timeout")]
    assert shown == ["shop listener", "off", "1234ms"]
    await connection.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("-c%20nosuch%3D1", 'options: unrecognized configuration parameter "nosuch"'),
        ("-c%20geqo%3Dmaybe", 'options: parameter "geqo" requires a Boolean value'),
        ("-c%20shared_buffers%3D1", 'options: parameter "shared_buffers" cannot be changed without restarting the server'),
        ("endpoint%3Dep-cool-1", "options: invalid command-line argument for server process: endpoint=ep-cool-1"),
    ],
)
async def test_options_that_postgresql_rejects_are_an_error_at_once(database_url: str, options: str, text: str) -> None:
    with pytest.raises(BadDatabaseUrl, match=f"^DATABASE_URL is not usable: {text}"):
        await attempt(f"{database_url}?options={options}")


async def test_the_next_server_is_tried(database_url: str) -> None:
    login, rest = database_url.removeprefix("postgresql://").split("@")
    url = f"postgresql://{login}@127.0.0.1:{free_port()},{rest.split('/')[0]}/{rest.split('/')[1]}"
    await attempt(url)
    await attempt(url + "?target_session_attrs=read-write")


async def test_environment_and_service_file_of_libpq(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    login, rest = database_url.removeprefix("postgresql://").split("@")
    user, password = login.split(":")
    host, port = rest.split("/")[0].split(":")
    service_file = tmp_path / "services.conf"
    service_file.write_text(f"[shop]\nhost={host}\nport={port}\ndbname={rest.split('/')[1]}\napplication_name=50%\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service_file))
    monkeypatch.setenv("PGUSER", user)
    pass_file = tmp_path / "pass"
    pass_file.write_text(f"*:*:*:{user}:{password}\n")
    pass_file.chmod(0o600)
    connection = await connect(f"postgresql://?service=shop&passfile={pass_file}")
    assert await connection.fetchval("show application_name") == "50%"
    await connection.close()


async def test_a_user_id_without_a_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", unknown)
    with pytest.raises(BadDatabaseUrl, match=r"^DATABASE_URL is not usable: expected the name of a user: postgresql://user:"):
        await attempt("postgresql://127.0.0.1:1/d")


async def test_a_database_that_does_not_exist_yet_is_waited_for(start_server: StartServer, postgres: EmbeddedPostgres) -> None:
    url = postgres.url.rsplit("/", 1)[0] + "/not_yet"
    with pytest.raises(DatabaseUnavailable, match='refuses the connection: database "not_yet" does not exist'):
        await attempt(url)
    server: Server = await start_server(url, wait=False)
    await server.wait_for_line_from_each_worker('database "not_yet" does not exist')
    admin = await asyncpg.connect(postgres.url)
    try:
        await admin.execute("create database not_yet")
        await server.wait_until_ready()
        await server.kill()
    finally:
        await admin.execute("drop database if exists not_yet with (force)")
        await admin.close()


async def test_all_errors_of_the_driver_are_translated() -> None:
    with pytest.raises(DatabaseError):
        await attempt(f"postgresql://u:p@127.0.0.1:{free_port()}/d")
