"""The measured servers: how each is started, and how it is triggered to send."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

from bench.load import compile_c
from bench.machine import SERVER_CPUS
from settings import Settings
from tests.helpers.certificates import issue_certificate
from tests.helpers.npm import installed, node_and_npm
from tests.support import ROOT, Process, free_port

PEERS = ROOT / "bench" / "peers"
VENV = ROOT / ".venv-bench"
FRAME_BYTES = 200
EXIT_TIMEOUT_SECONDS = 1.0

# Raises the limits that a load generator on one address would exceed.
LIMITS = {
    "HANDSHAKES_PER_SECOND": "1000000",
    "MAX_CONNECTIONS": "20000",
    "MAX_CONNECTIONS_PER_ADDRESS": "20000",
    "LOG_LEVEL": "WARNING",
}


class SubjectUnavailable(Exception):
    """This subject cannot run on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that is ready."""

    process: Process
    port: int
    trigger_port: int
    trigger: Callable[[int], str]
    directory: Path

    @property
    def pid(self) -> int:
        return self.process.process.pid

    def write_trigger_file(self, frames: int) -> Path:
        """Write the bytes that trigger ``frames`` frames in one batch, for ``pump`` of the load generator."""
        path = self.directory / f"trigger-{frames}"
        path.write_text(self.trigger(frames))
        return path


@dataclass(frozen=True, slots=True)
class Subject:
    """A server that can be measured."""

    name: str
    # (directory for its files, settings) → command line. Raises SubjectUnavailable.
    command: Callable[[Path, dict[str, str]], list[str]]
    settings: dict[str, str]
    trigger: Callable[[int], str] = lambda frames: f"{frames} {FRAME_BYTES}\n"
    # The template of its database (bench/database.py). Orderwire needs a migrated one.
    database: str = "naive"
    # Whether it receives notifications from PostgreSQL.
    listens_to_postgres: bool = True
    # Whether a quick run includes it in the scenarios with INSERT.
    in_quick_run: bool = True

    @property
    def needs_database(self) -> bool:
        """Whether it needs a database in scenarios that do not write."""
        return self.database != "naive"

    @asynccontextmanager
    async def start(self, database_url: str | None, cpus: set[int] = SERVER_CPUS) -> AsyncIterator[RunningServer]:
        """Start the server on these processors; yields it when it is ready. Raises SubjectUnavailable."""
        ports = {"PORT": free_port(), "TRIGGER_PORT": free_port()}
        settings = {**self.settings, **ports, **({"DATABASE_URL": database_url} if database_url else {})}
        with tempfile.TemporaryDirectory(prefix="orderwire-bench-") as directory:
            command = self.command(Path(directory), settings)
            own = os.sched_getaffinity(0)
            os.sched_setaffinity(0, cpus)  # the child inherits it
            try:
                process = await Process.start(*command, env=settings)
            finally:
                os.sched_setaffinity(0, own)
            try:
                await _wait_until_ready(process)
                yield RunningServer(process, int(ports["PORT"]), int(ports["TRIGGER_PORT"]), self.trigger, Path(directory))
            finally:
                # SIGKILL: a server that waits until its clients have disconnected would never exit.
                with suppress(ProcessLookupError):
                    os.killpg(process.process.pid, signal.SIGKILL)
                await process.wait_for_exit()


async def _wait_until_ready(process: Process) -> None:
    """Raises SubjectUnavailable when the server exits and has printed one line: the reason why it cannot run."""
    try:
        await process.wait_for_line("ready")
    except AssertionError as error:
        with suppress(AssertionError):
            await process.wait_for_exit(EXIT_TIMEOUT_SECONDS)
            if len(process.lines) == 1:
                raise SubjectUnavailable(process.output) from None
        raise error


def _python_peer(module: str) -> Callable[[Path, dict[str, str]], list[str]]:
    def command(_: Path, __: dict[str, str]) -> list[str]:
        python = VENV / "bin" / "python"
        if not python.exists():
            raise SubjectUnavailable(f"{VENV.name} is missing: make bench installs it")
        if subprocess.run(
            [str(python), "-c", f"import {module.partition('_')[0]}"], capture_output=True, check=False
        ).returncode:
            raise SubjectUnavailable(f"{module.partition('_')[0]} cannot be imported")
        return [str(python), "-m", f"bench.peers.{module}"]

    return command


def _node_peer(_: Path, settings: dict[str, str]) -> list[str]:
    try:
        node, _npm = node_and_npm()
        settings["NODE_PATH"] = str(installed(PEERS) / "node_modules")
    except AssertionError as error:
        raise SubjectUnavailable(str(error)) from None
    return [*node, str(PEERS / "node_ws.js")]


def _nchan_peer(directory: Path, settings: dict[str, str]) -> list[str]:
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    places = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
    modules = [os.environ.get("NCHAN_MODULE", ""), *(f"{place}/ngx_nchan_module.so" for place in places)]
    module = next((path for path in modules if path and Path(path).exists()), None)
    if nginx is None or module is None:
        raise SubjectUnavailable(
            "nginx with its module nchan is not installed (on Debian: apt install nginx libnginx-mod-nchan)"
        )
    text = (PEERS / "nchan.conf").read_text()
    words = {**settings, "MODULE": module, "DIRECTORY": str(directory), "FILES": "20000"}
    for name, value in words.items():
        text = text.replace(f"@{name}@", value)
    (directory / "nginx.conf").write_text(text)
    directory.chmod(0o755)
    # nginx does not print when it is ready, so this script polls its port.
    start_and_poll = """
    nginx=$1; shift
    "$nginx" "$@" &
    until (: <"/dev/tcp/127.0.0.1/$PORT") 2>&-; do sleep 0.01; done
    echo ready
    wait
    """
    return ["bash", "-c", start_and_poll, "bash", nginx, "-c", str(directory / "nginx.conf"), "-p", str(directory)]


def _publish_by_http(frames: int) -> str:
    text = "@@0:0@@".ljust(FRAME_BYTES, "x")
    return f"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n{text}" * frames


# The baseline: the cost of the kernel's send() alone.
C_LOOP = Subject(
    "C send() loop",
    lambda _, settings: [str(compile_c(PEERS / "c_loop.c")), settings["PORT"], settings["TRIGGER_PORT"]],
    {},
    listens_to_postgres=False,
)


def orderwire_subject(variant: str, *program: str, database: str = "journal", **settings: str) -> Subject:
    """Orderwire with settings. Skipped where the checkout does not know one of the settings."""

    def command(_: Path, __: dict[str, str]) -> list[str]:
        known = {field.name.upper() for field in fields(Settings)}
        if unknown := settings.keys() - known:
            raise SubjectUnavailable(f"this checkout has no setting {', '.join(sorted(unknown))}")
        return [sys.executable, *program]

    return Subject(", ".join(filter(None, ("Orderwire", variant))), command, {**LIMITS, **settings}, database=database)


def _server(variant: str = "", **settings: str) -> Subject:
    """The server as `python server.py serve` starts it."""
    return orderwire_subject(variant, "server.py", "serve", **settings)


def _hub(variant: str = "", **settings: str) -> Subject:
    """The same server with a trigger on its hub (bench/peers/orderwire_hub.py)."""
    return orderwire_subject(variant, "-m", "bench.peers.orderwire_hub", **settings)


def _with_certificate(
    command: Callable[[Path, dict[str, str]], list[str]],
) -> Callable[[Path, dict[str, str]], list[str]]:
    """The same server with a certificate of its own."""

    def with_certificate(directory: Path, settings: dict[str, str]) -> list[str]:
        cert_file, key_file = issue_certificate(directory, "orderwire")
        settings |= {"TLS_CERT_FILE": str(cert_file), "TLS_KEY_FILE": str(key_file)}
        return command(directory, settings)

    return with_certificate


SERVER = _server()
SERVER_ALWAYS_NOTIFY = _server("NOTIFY_MODE=always", NOTIFY_MODE="always")
SERVER_NEVER_NOTIFY = _server("NOTIFY_MODE=never", NOTIFY_MODE="never")
# bench/peers/orderwire_stages.py
SERVER_NOTING = orderwire_subject("noting stages", "-m", "bench.peers.orderwire_stages")
SERVER_MILLION = _server("1,000,000 rows in the journal", database="million")
SERVER_TWO = _server("2 workers", WORKERS="2")
SERVER_FOUR = _server("4 workers", WORKERS="4")
# Members of a cluster (bench/cluster.py, which adds BROKER_URL). They log at INFO who is the relay.
CANDIDATE = _server("may be the relay", NODE_ROLE="auto", LOG_LEVEL="INFO")
EDGE = _server("edge", NODE_ROLE="edge", LOG_LEVEL="INFO")
EIGHT_EDGES = replace(EDGE, name="Orderwire, eight edges")
HUB = _hub()
HUB_TRANSPORT = _hub("transport", WEBSOCKET_IO="transport")
HUB_DESCRIPTOR = _hub("descriptor", WEBSOCKET_IO="descriptor")
HUB_AIO = _hub("aio", WEBSOCKET_IO="aio")
HUB_IO_URING = _hub("io_uring", WEBSOCKET_IO="io_uring")
# Orderwire once with clients that offer compression and once without. Peers run only with: they accept every offer.
HUB_SSE = _hub("SSE")
HUB_COMPRESSED = _hub(COMPRESSION="1")
HUB_PLAIN = _hub("plain")

HUB_TLS = replace(HUB, name="Orderwire, TLS", command=_with_certificate(HUB.command))

# Not a server: the floor of a latency from an INSERT.
LISTEN_CALLBACK = Subject("asyncpg LISTEN callback", lambda _, __: [sys.executable, "-m", "bench.peers.asyncpg_listen"], {})
AIOHTTP = Subject("aiohttp, loop", _python_peer("aiohttp_loop"), {})
UVLOOP = Subject("aiohttp, loop, uvloop", _python_peer("aiohttp_loop"), {"UVLOOP": "1"}, in_quick_run=False)
WEBSOCKETS = Subject("websockets.broadcast", _python_peer("websockets_broadcast"), {}, in_quick_run=False)
FASTAPI = Subject("FastAPI, queues", _python_peer("fastapi_queues"), {})
NODE = Subject("Node ws", _node_peer, {})
SOCKETIFY = Subject("socketify", _python_peer("socketify_publish"), {}, in_quick_run=False)
NCHAN = Subject("nginx nchan", _nchan_peer, {}, _publish_by_http, listens_to_postgres=False)
PEER_SUBJECTS = (AIOHTTP, UVLOOP, WEBSOCKETS, FASTAPI, NODE, SOCKETIFY, NCHAN)
