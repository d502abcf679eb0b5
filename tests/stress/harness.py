"""The system under stress: one PostgreSQL, two servers, a proxy in front of each and one between each and PostgreSQL.

With ``is_cluster`` these are three edges, two servers that may be the relay, and three nodes of NATS, with a proxy between
each server and each node.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from bus.local.nodes import BrokerNodes
from db.migrate import migrate
from tests.helpers.replication import Cluster
from tests.stress.clients import HEARTBEAT_SECONDS
from tests.stress.proxy import Address, Proxy
from tests.stress.tables import Table
from tests.support import Server, free_port

SERVER_COUNT = 2
# Of a cluster: the edges come first, and the clients connect to them alone.
EDGE_COUNT = 3
CANDIDATE_COUNT = 2
# A drain takes at most 10 s; the rest is a margin for a busy machine.
EXIT_TIMEOUT_SECONDS = 25.0
HUNG_EXIT_CODE = 999


class Harness:
    """``async with Harness(directory, notify_mode, table) as harness``: starts everything, and stops it at the end."""

    def __init__(self, directory: Path, notify_mode: str, table: Table, *, is_cluster: bool = False) -> None:
        self._notify_mode = notify_mode
        self.server_count = EDGE_COUNT + CANDIDATE_COUNT if is_cluster else SERVER_COUNT
        # The servers that clients connect to: so many from the first on.
        self.client_server_count = EDGE_COUNT if is_cluster else SERVER_COUNT
        self.broker = BrokerNodes(directory / "broker", find_ports=_ports) if is_cluster else None
        self.broker_locks = [asyncio.Lock() for _ in range(3)]
        # By the server's number: its ways to the nodes.
        self.broker_proxies: list[list[Proxy]] = []
        self.table = table
        self._directory = directory
        self.postgres = Cluster(directory / "postgres")
        self._former: list[Cluster] = []
        self.postgres_lock = asyncio.Lock()
        self.servers: list[Server] = []
        self.ended: list[Server] = []
        self.server_locks = [asyncio.Lock() for _ in range(self.server_count)]
        self._ports: list[int] = []
        self.postgres_proxies: list[Proxy] = []
        self.server_proxies: list[Proxy] = []

    async def __aenter__(self) -> Harness:
        await asyncio.to_thread(self.postgres.start)
        await migrate(self.postgres.url)
        await self.table.install(self.postgres.url)
        if self.broker is not None:
            await self.broker.start()
            for _ in range(self.server_count):
                nodes = self.broker.ports
                self.broker_proxies.append([await Proxy(lambda port=port: ("127.0.0.1", port)).open() for port in nodes])  # type: ignore[misc]
        for number in range(self.server_count):
            self.postgres_proxies.append(await Proxy(self._postgres_address).open())
            self.server_proxies.append(await Proxy(lambda number=number: ("127.0.0.1", self._ports[number]), 8192).open())  # type: ignore[misc]
        self._ports = [int(free_port()) for _ in range(self.server_count)]
        for number in range(self.server_count):
            self.servers.append(await self._start(number))
        for server in self.servers:
            await server.wait_until_ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            await server.kill()
        for proxy in [*self.postgres_proxies, *self.server_proxies, *itertools.chain(*self.broker_proxies)]:
            await proxy.close()
        if self.broker is not None:
            await self.broker.stop()
        for postgres in (self.postgres, *self._former):
            await asyncio.to_thread(postgres.release)

    def _postgres_address(self) -> Address:
        return "127.0.0.1", urlsplit(self.postgres.url).port or 0

    async def _start(self, number: int) -> Server:
        host = f"127.0.0.1:{self.postgres_proxies[number].port}"
        url = urlsplit(self.postgres.url)
        return await Server.serve(
            url._replace(netloc=url.netloc.rsplit("@", 1)[0] + "@" + host).geturl(),
            PORT=str(self._ports[number]),
            HEARTBEAT_SECONDS=str(HEARTBEAT_SECONDS),
            # The audit compares the totals with the table every two seconds.
            AUDIT_SECONDS="2",
            NOTIFY_MODE=self._notify_mode,
            # Some clients speak HTTP/1.0, which counts as forwarded.
            ALLOW_ANONYMOUS="1",
            **self._cluster_settings(number),
        )

    def _cluster_settings(self, number: int) -> dict[str, str]:
        if self.broker is None:
            return {}
        urls = ",".join(f"nats://127.0.0.1:{proxy.port}" for proxy in self.broker_proxies[number])
        return {"BROKER_URL": urls, "NODE_ROLE": "edge" if number < EDGE_COUNT else "auto"}

    def relay_number(self) -> int:
        """The server that reads the journal for all, as the log of the candidates has it; any of them while none does."""
        newest = EDGE_COUNT
        for number in range(EDGE_COUNT, self.server_count):
            roles = [
                line for line in self.servers[number].lines if "reads the journal for all" in line or "through NATS" in line
            ]
            if roles and "reads the journal" in roles[-1]:
                newest = number
        return newest

    async def restart_server(self, number: int, signal_number: signal.Signals) -> int:
        """Stop the server by this signal and start it again; return the exit code, or HUNG_EXIT_CODE."""
        ending = self.servers[number]
        with suppress(ProcessLookupError):
            if signal_number is signal.SIGKILL:
                os.killpg(ending.process.pid, signal_number)
            else:
                ending.process.send_signal(signal_number)
        try:
            code = await ending.wait_for_exit(EXIT_TIMEOUT_SECONDS)
        except AssertionError:
            await ending.kill()
            code = HUNG_EXIT_CODE
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

    async def promote_standby(self) -> None:
        """Make a synchronous standby, kill the primary and promote the standby in its place: nothing may be lost."""
        primary = self.postgres
        standby = await asyncio.to_thread(primary.base_backup_to, self._directory / f"postgres {len(self._former) + 2}")
        await asyncio.to_thread(standby.start)
        await primary.execute("alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
        # Of what was committed before that, too.
        while not await primary.fetchval(
            "select exists (select from pg_stat_replication as r "
            "where r.sync_state = 'sync' and r.flush_lsn >= pg_current_wal_lsn())"
        ):
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)  # of writing to both
        self._former.append(primary)
        await primary.crash()
        await standby.promote()
        self.postgres = standby

    def log_failures(self) -> list[str]:
        """Log lines that must not occur."""
        found = []
        for server in self.ended + self.servers:
            for index, line in enumerate(server.lines):
                if any(bad in line for bad in ("Traceback", "a session failed", "had drifted", "never retrieved", "CRITICAL")):
                    found.append("in a server's log: " + " | ".join(server.lines[max(0, index - 2) : index + 25]))
                    break
        return found


def _ports(count: int) -> list[int]:
    return [int(free_port()) for _ in range(count)]


async def connect_when_recovered(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """Connect to PostgreSQL; wait while it recovers."""
    while True:
        try:
            return await asyncpg.connect(url, timeout=10)
        except asyncpg.CannotConnectNowError:
            await asyncio.sleep(0.1)


def open_files(server: Server) -> int:
    """Number of open files of all serving processes."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in server.serving_pids)


def memory_mib(server: Server) -> float:
    """Resident memory of all serving processes."""
    return sum(map(_resident_mib, server.serving_pids))


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")
