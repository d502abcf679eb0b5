"""The faults: what happens when is drawn beforehand from the seed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.stress.clients import Client, client_frame, upgrade
from tests.stress.proxy import Link
from tests.stress.site import END_SECONDS, HUNG, SERVERS, Site, connected
from tests.support import WORKERS


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to happen, and when. ``metrics``: of the clients of that server; ``timeout_seconds``: for as long as that."""

    at: float
    kind: str
    server: int
    share: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """A fault that happened at this time (of day), and whom it hit."""

    fault: Fault
    at: float
    hit: list[Client]


class Faults:
    """Makes the faults happen."""

    def __init__(self, site: Site, clients: list[Client], seed: int) -> None:
        self._site = site
        self._clients = clients
        self._rng = random.Random(f"{seed} garbage")
        self.done: list[Done] = []
        self.wrong: list[str] = []

    async def run(self, schedule: list[Fault]) -> None:
        """All of them, each at its time; returns when everything is healed but what stays half-open."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in schedule:
                await asyncio.sleep(start + fault.at - time.monotonic())
                group.create_task(KINDS[fault.kind].happen(self, fault))

    def _hit(self, fault: Fault, clients: list[Client]) -> None:
        self.done.append(Done(fault, time.time(), clients))

    def _of(self, server: int) -> list[Client]:
        return [client for client in self._clients if client.line is not None and client.server == server]

    def _share(self, fault: Fault) -> list[tuple[Client, Link]]:
        """Some clients of that server, with their connections."""
        links = self._site.to_server[fault.server].by_port
        found = []
        for client in self._of(fault.server):
            assert client.line is not None
            if client.line.transport is None or client.line.transport.is_closing():
                continue
            link = links.get(client.line.port)
            if link is not None and not link.dead:
                found.append((client, link))
        return found[: max(1, int(len(found) * fault.share))]

    # ---------------------------------------------------------------- the kinds

    async def terminate_listener(self, fault: Fault) -> None:
        async with self._site.postgres_lock:
            try:
                connection = await connected(self._site.postgres.url)
            except (OSError, TimeoutError, asyncpg.PostgresError) as error:
                self.wrong.append(f"{fault.kind}: {error}")
                return
            self._hit(fault, [client for client in self._clients if client.line is not None])
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'orderwire listener'"
            )
            connection.terminate()

    async def kill_postgres(self, fault: Fault) -> None:
        async with self._site.postgres_lock:
            self._hit(fault, [client for client in self._clients if client.line is not None])
            await self._site.kill_postgres()

    async def kill_server(self, fault: Fault) -> None:
        async with self._site.server_locks[fault.server]:
            self._hit(fault, self._of(fault.server))
            await self._site.restart_server(fault.server, signal.SIGKILL)

    async def kill_worker(self, fault: Fault) -> None:
        """One of several; the server's supervisor starts another."""
        async with self._site.server_locks[fault.server]:
            workers = self._site.servers[fault.server].worker_pids
            if workers:
                self._hit(fault, self._of(fault.server))
                with suppress(ProcessLookupError):
                    os.kill(workers[min(workers) if fault.share < 0.3 else max(workers)], signal.SIGKILL)

    async def drain_server(self, fault: Fault) -> None:
        async with self._site.server_locks[fault.server]:
            with suppress(AssertionError):  # not up yet within the patience: the drain has to work then, too
                await self._site.servers[fault.server].wait_for_line("ready", seconds=5)
            self._hit(fault, self._of(fault.server))
            code = await self._site.restart_server(fault.server, signal.SIGTERM)
            # By the signal itself: before the server has set up its handler.
            if code not in (0, -signal.SIGTERM):
                how = f"did not end in {END_SECONDS:.0f} s" if code == HUNG else f"ended with {code}"
                self.wrong.append(f"a drained server {how}: {self._site.ended[-1].output[-1500:]}")

    async def cut_database(self, fault: Fault) -> None:
        self._hit(fault, self._of(fault.server))
        self._site.to_postgres[fault.server].cut()

    async def stall_database(self, fault: Fault) -> None:
        self._hit(fault, self._of(fault.server))
        self._site.to_postgres[fault.server].stall(True)
        await asyncio.sleep(fault.seconds)
        self._site.to_postgres[fault.server].stall(False)

    async def lose_database(self, fault: Fault) -> None:
        self._hit(fault, self._of(fault.server))
        self._site.to_postgres[fault.server].die()

    async def cut_clients(self, fault: Fault) -> None:
        share = self._share(fault)
        self._hit(fault, [client for client, _ in share])
        for _, link in share:
            link.cut()

    async def stall_clients(self, fault: Fault) -> None:
        share = self._share(fault)
        self._hit(fault, [client for client, _ in share])
        for _, link in share:
            link.stall(True)
        await asyncio.sleep(fault.seconds)
        for _, link in share:
            link.stall(False)

    async def lose_clients(self, fault: Fault) -> None:
        share = self._share(fault)
        self._hit(fault, [client for client, _ in share])
        for _, link in share:
            link.die()

    async def deafen_clients(self, fault: Fault) -> None:
        share = [(client, client.line) for client, _ in self._share(fault)]
        self._hit(fault, [client for client, _ in share])
        for _, line in share:
            assert line is not None
            line.listen(False)
        await asyncio.sleep(fault.seconds)
        for _, line in share:
            assert line is not None
            line.listen(True)

    async def send_garbage(self, fault: Fault) -> None:
        rubbish = self._rng.randbytes(300)
        hello = upgrade(None).encode()
        choices = (
            rubbish,
            b"GET /api/ws HTTP/1.1\r\n\r\n",
            upgrade("0%00" + "9" * 2000).encode(),
            b"GET /api/sse?last_event_id=%ff HTTP/1.1\r\nHost: x\r\nLast-Event-ID: \xff\xfe\r\n\r\n",
            hello + client_frame(1, b"[" * 60_000),
            hello + client_frame(1, b"\xff\xfe"),
            hello + client_frame(1, b'{"type":{"type":"ping"}}') * 300,
            hello + client_frame(2, rubbish),
            hello + client_frame(1, b"x" * 70_000),
            hello + client_frame(3, rubbish),
            hello + client_frame(9, b"p" * 130),
            hello + client_frame(8, b"\x00"),
            hello + rubbish,
        )
        self._hit(fault, self._of(fault.server))
        port = self._site.to_server[fault.server].port
        for data in self._rng.sample(choices, 4):
            with suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(data)
                    async with asyncio.timeout(fault.seconds):
                        await reader.read(-1)
                finally:
                    writer.transport.abort()
                    with suppress(OSError):
                        await writer.wait_closed()


@dataclass(frozen=True, slots=True)
class Kind:
    """How often it is drawn, and what it does."""

    weight: int
    happen: Callable[[Faults, Fault], Coroutine[Any, Any, None]]
    seconds: tuple[float, float] = (0.0, 0.0)


KINDS = {
    "LISTEN backend terminated": Kind(12, Faults.terminate_listener),
    "PostgreSQL kill -9": Kind(4, Faults.kill_postgres),
    "server kill -9": Kind(5, Faults.kill_server),
    **({"worker kill -9": Kind(12, Faults.kill_worker)} if WORKERS > 1 else {}),
    "server drained": Kind(4, Faults.drain_server),
    "database line cut": Kind(12, Faults.cut_database),
    "database line stalled": Kind(10, Faults.stall_database, (0.2, 3.0)),
    "database line half-open": Kind(3, Faults.lose_database),
    "client lines cut": Kind(15, Faults.cut_clients),
    "client lines stalled": Kind(14, Faults.stall_clients, (0.2, 7.0)),
    "client lines half-open": Kind(8, Faults.lose_clients),
    "clients stop reading": Kind(12, Faults.deafen_clients, (0.2, 7.0)),
    "clients send garbage": Kind(11, Faults.send_garbage, (0.5, 1.0)),
}


def draw(seed: int, count: int, seconds: float, kinds: list[str]) -> list[Fault]:
    """Each kind at least once, the others by weight."""
    rng = random.Random(seed)
    names = kinds + rng.choices(kinds, [KINDS[name].weight for name in kinds], k=max(0, count - len(kinds)))
    rng.shuffle(names)
    times = sorted(rng.uniform(0, seconds) for _ in names)
    return [
        Fault(at, name, rng.randrange(SERVERS), rng.uniform(0.05, 0.6), rng.uniform(*KINDS[name].seconds))
        for at, name in zip(times, names, strict=True)
    ]
