"""Fixtures: a checkout per test, and wscat."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from db.embedded.postgres import EmbeddedPostgres
from tests.helpers.npm import installed, node_and_npm
from tests.support import BASE_ENVIRONMENT, TIMEOUT_SECONDS, Message, Process, Server, copy_checkout

HERE = Path(__file__).resolve().parent


class Checkout:
    """A copy of the working tree with its own ``.data``; it uses the virtual environment that runs the tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[Process] = []

    def command(self, target: str, *variables: str) -> list[str]:
        # -o: make does not remake these stamps, so it installs nothing into the environment of the running tests.
        stamps = [word for name in (".runtime", ".dev") for word in ("-o", f"{sys.prefix}/{name}")]
        return ["make", *stamps, target, f"VENV={sys.prefix}", *variables]

    async def start(self, target: str, *variables: str) -> Process:
        """``make TARGET``, in the background."""
        process = await Process.start(*self.command(target, *variables), cwd=self.directory)
        self.processes.append(process)
        return process

    async def run(self, *variables: str) -> Server:
        """``make run``; returns when it is ready."""
        server = await Server.start(*self.command("run", "PORT=0", *variables), cwd=self.directory)
        self.processes.append(server)
        return await server.wait_until_ready()

    def psql(self, script: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """``echo "…" | make psql``, with variables of make."""
        return subprocess.run(
            self.command("psql", *(f"{name}={value}" for name, value in variables.items())),
            cwd=self.directory,
            env=BASE_ENVIRONMENT,
            input=script,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    @property
    def postgres_pid(self) -> str | None:
        with suppress(FileNotFoundError):
            return (self.directory / ".data" / "postgres" / "postmaster.pid").read_text().split()[0]
        return None


def printed_psql(server: Server) -> str:
    """The arguments of psql in the command that ``make run`` prints."""
    line = next(line for line in server.lines if line.startswith("psql"))
    return line.removeprefix("psql").strip()


def database_url(server: Server) -> str:
    return printed_psql(server).split("'")[1]


def accepts_connections(url: str) -> bool:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    try:
        socket.create_connection((address.hostname, address.port), timeout=TIMEOUT_SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


async def ctrl_c(process: Process, how: signal.Signals = signal.SIGINT) -> int:
    """Signal the process group like a terminal: make and all its children at once."""
    os.killpg(process.process.pid, how)
    return await process.wait_for_exit()


@pytest.fixture(scope="session")
def initialized_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``.data`` after its first start: initdb takes 1.7 s of CPU, a copy of its result 0.4 s."""
    directory = tmp_path_factory.mktemp("initialized") / ".data"
    server = EmbeddedPostgres(directory, report=lambda line: None)
    server.start()
    server.release()
    return directory


@pytest.fixture
async def new_checkout(tmp_path: Path) -> AsyncIterator[Checkout]:
    """A checkout in which no command has been run."""
    checkout = Checkout(copy_checkout(tmp_path / "checkout"))
    yield checkout
    for process in checkout.processes:
        if process.process.returncode is None:
            await ctrl_c(process)
        assert "Traceback" not in process.output, process.output
    if checkout.postgres_pid is not None:  # a test failed: psql is then the last user and stops the server
        checkout.psql("")


@pytest.fixture
def checkout(new_checkout: Checkout, initialized_data: Path) -> Checkout:
    """A checkout whose PostgreSQL has been started before."""
    subprocess.run(["cp", "-a", initialized_data, new_checkout.directory], check=True)
    return new_checkout


@pytest.fixture(scope="session")
def wscat_command() -> list[str]:
    """The command of the wscat pinned in package-lock.json."""
    return [*node_and_npm()[0], str(installed(HERE) / "node_modules" / "wscat" / "bin" / "wscat")]


class Wscat:
    """``wscat --connect URL`` and the messages that it prints, one a line."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @property
    def frames(self) -> list[Message]:
        return [json.loads(line) for line in self.process.lines]

    @property
    def events(self) -> list[Message]:
        return [frame for frame in self.frames if "id" in frame]

    async def wait_for_totals(self, orders: int, after: int = 0) -> Message:
        """The first analytics_update with ``orders`` orders, from message ``after`` on."""
        return dict(json.loads(await self.process.wait_for_line(f'"total_orders":{orders},', start_index=after)))


@pytest.fixture
async def wscat(wscat_command: list[str], checkout: Checkout) -> AsyncIterator[Wscat]:
    """Starts the server of ``checkout`` and a wscat connected to it; the first message has arrived."""
    server = await checkout.run()
    # wscat exits at the end of its standard input.
    process = await Process.start(*wscat_command, "--connect", server.ws_url, stdin=asyncio.subprocess.PIPE)
    await process.wait_for_line("analytics_update")
    yield Wscat(process)
    await process.kill()
