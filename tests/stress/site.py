"""What is stressed: one PostgreSQL, two servers, a proxy before each of them and one between each of them and PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from db.embedded import EmbeddedPostgres
from tests.stress.clients import HEARTBEAT_SECONDS
from tests.stress.proxy import Address, Proxy
from tests.support import Server, free_port

SERVERS = 2
# A drain takes 10 s at most, by the server's own bound; the rest is for a machine that is busy.
END_SECONDS = 25.0
HUNG = 999


class Site:
    """``async with Site(directory, notify_mode) as site``."""

    def __init__(self, directory: Path, notify_mode: str) -> None:
        self._notify_mode = notify_mode
        self.postgres = EmbeddedPostgres(directory / "postgres", say=lambda line: None)
        self.postgres_lock = asyncio.Lock()
        self.servers: list[Server] = []
        self.ended: list[Server] = []
        self.server_locks = [asyncio.Lock() for _ in range(SERVERS)]
        self._ports: list[int] = []
        self.to_postgres: list[Proxy] = []
        self.to_server: list[Proxy] = []

    async def __aenter__(self) -> Site:
        await asyncio.to_thread(self.postgres.start)
        for number in range(SERVERS):
            self.to_postgres.append(await Proxy(self._postgres_address).open())
            self.to_server.append(await Proxy(lambda number=number: ("127.0.0.1", self._ports[number]), 8192).open())  # type: ignore[misc]
        for number in range(SERVERS):
            self._ports.append(int(free_port()))
            self.servers.append(await self._start(number))
            await self.servers[number].ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            await server.kill()
        for proxy in self.to_postgres + self.to_server:
            await proxy.close()
        await asyncio.to_thread(self.postgres.release)

    def _postgres_address(self) -> Address:
        return "127.0.0.1", urlsplit(self.postgres.url).port or 0

    async def _start(self, number: int) -> Server:
        host = f"127.0.0.1:{self.to_postgres[number].port}"
        url = urlsplit(self.postgres.url)
        return await Server.serve(
            url._replace(netloc=url.netloc.rsplit("@", 1)[0] + "@" + host).geturl(),
            PORT=str(self._ports[number]),
            HEARTBEAT_SECONDS=str(HEARTBEAT_SECONDS),
            # The totals are compared with the table all the time.
            AUDIT_SECONDS="2",
            NOTIFY_MODE=self._notify_mode,
        )

    async def restart_server(self, number: int, how: signal.Signals) -> int:
        """End it that way and start it again; returns the exit code, or HUNG."""
        ending = self.servers[number]
        with suppress(ProcessLookupError):
            if how is signal.SIGKILL:
                os.killpg(ending.process.pid, how)
            else:
                ending.process.send_signal(how)
        try:
            code = await ending.exit_code(END_SECONDS)
        except AssertionError:
            await ending.kill()
            code = HUNG
        self.ended.append(ending)
        self.servers[number] = await self._start(number)
        return code

    async def kill_postgres(self) -> None:
        pid = self.postgres.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while self.postgres.pid is not None:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(self.postgres.start)

    def complaints(self) -> list[str]:
        """What a server's log must not hold."""
        found = []
        for server in self.ended + self.servers:
            for index, line in enumerate(server.lines):
                if any(
                    bad in line for bad in ("Traceback", "ended unexpectedly", "had drifted", "never retrieved", "CRITICAL")
                ):
                    found.append("in a server's log: " + " | ".join(server.lines[max(0, index - 2) : index + 25]))
                    break
        return found


async def connected(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """A connection to PostgreSQL, once it has recovered from what was done to it."""
    while True:
        try:
            return await asyncpg.connect(url, timeout=10)
        except asyncpg.CannotConnectNowError:
            await asyncio.sleep(0.1)


def open_files(server: Server) -> int:
    """Of all the processes that serve."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in server.pids)


def memory_mib(server: Server) -> float:
    """The same."""
    return sum(map(_resident_mib, server.pids))


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")
