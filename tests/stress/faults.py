"""The faults and their schedule, which is drawn from the seed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from bus.local.nodes import BrokerNodes
from push.journal.replay import MAX_REPLAYED
from tests.stress.clients import Client, client_frame, upgrade_request
from tests.stress.harness import EXIT_TIMEOUT_SECONDS, HUNG_EXIT_CODE, Harness, connect_when_recovered
from tests.stress.proxy import ProxiedConnection
from tests.support import WORKERS


@dataclass(frozen=True, slots=True)
class Fault:
    """One scheduled fault. ``fraction``: of the server's clients. ``at`` and ``seconds`` (duration): in seconds."""

    at: float
    kind: str
    server: int
    fraction: float
    seconds: float


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A fault, the wall-clock time at which it was injected, and the clients it hit."""

    fault: Fault
    at: float
    clients_hit: list[Client]


class FaultInjector:
    """Injects the faults."""

    def __init__(self, harness: Harness, clients: list[Client], seed: int) -> None:
        self._harness = harness
        self._clients = clients
        self._rng = random.Random(f"{seed} garbage")
        self.injected: list[InjectedFault] = []
        self.failures: list[str] = []

    async def run(self, schedule: list[Fault]) -> None:
        """Inject each fault at its time; return when all have ended, except that half-open connections stay half-open."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in schedule:
                await asyncio.sleep(start + fault.at - time.monotonic())
                group.create_task(ALL_FAULT_KINDS[fault.kind].inject(self, fault))

    def _record(self, fault: Fault, clients: list[Client]) -> None:
        self.injected.append(InjectedFault(fault, time.time(), clients))

    def _clients_of(self, server: int) -> list[Client]:
        return [client for client in self._clients if client.connection is not None and client.server == server]

    def _connections_hit(self, fault: Fault) -> list[tuple[Client, ProxiedConnection]]:
        """The clients of that server that the fault hits, with their connections."""
        links = self._harness.server_proxies[fault.server].by_port
        found = []
        for client in self._clients_of(fault.server):
            assert client.connection is not None
            if client.connection.transport is None or client.connection.transport.is_closing():
                continue
            link = links.get(client.connection.port)
            if link is not None and not link.half_open:
                found.append((client, link))
        return found[: max(1, int(len(found) * fault.fraction))]

    # ---------------------------------------------------------------- the kinds

    async def terminate_listener(self, fault: Fault) -> None:
        async with self._harness.postgres_lock:
            try:
                connection = await connect_when_recovered(self._harness.postgres.url)
            except (OSError, TimeoutError, asyncpg.PostgresError) as error:
                self.failures.append(f"{fault.kind}: {error}")
                return
            self._record(fault, [client for client in self._clients if client.connection is not None])
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'orderwire listener'"
            )
            connection.terminate()

    async def kill_postgres(self, fault: Fault) -> None:
        async with self._harness.postgres_lock:
            self._record(fault, [client for client in self._clients if client.connection is not None])
            await self._harness.kill_postgres()

    async def promote_standby(self, fault: Fault) -> None:
        async with self._harness.postgres_lock:
            self._record(fault, [client for client in self._clients if client.connection is not None])
            await self._harness.promote_standby()

    async def kill_server(self, fault: Fault) -> None:
        async with self._harness.server_locks[fault.server]:
            self._record(fault, self._clients_of(fault.server))
            await self._harness.restart_server(fault.server, signal.SIGKILL)

    async def kill_worker(self, fault: Fault) -> None:
        """Kill one worker; the supervisor starts another."""
        async with self._harness.server_locks[fault.server]:
            workers = self._harness.servers[fault.server].worker_pids
            if workers:
                self._record(fault, self._clients_of(fault.server))
                with suppress(ProcessLookupError):
                    os.kill(workers[min(workers) if fault.fraction < 0.3 else max(workers)], signal.SIGKILL)

    async def drain_server(self, fault: Fault) -> None:
        async with self._harness.server_locks[fault.server]:
            with suppress(AssertionError):  # not ready in time: it must drain in that state too
                await self._harness.servers[fault.server].wait_for_line("ready", seconds=5)
            self._record(fault, self._clients_of(fault.server))
            code = await self._harness.restart_server(fault.server, signal.SIGTERM)
            # -SIGTERM: the signal arrived before the server had installed its handler.
            if code not in (0, -signal.SIGTERM):
                how = f"did not end in {EXIT_TIMEOUT_SECONDS:.0f} s" if code == HUNG_EXIT_CODE else f"ended with {code}"
                self.failures.append(f"a drained server {how}: {self._harness.ended[-1].output[-1500:]}")

    async def cut_database(self, fault: Fault) -> None:
        self._record(fault, self._clients_of(fault.server))
        self._harness.postgres_proxies[fault.server].cut()

    async def stall_database(self, fault: Fault) -> None:
        self._record(fault, self._clients_of(fault.server))
        self._harness.postgres_proxies[fault.server].stall(True)
        await asyncio.sleep(fault.seconds)
        self._harness.postgres_proxies[fault.server].stall(False)

    async def make_database_half_open(self, fault: Fault) -> None:
        self._record(fault, self._clients_of(fault.server))
        self._harness.postgres_proxies[fault.server].make_half_open()

    # ---------------------------------------------------------------- of a cluster

    def _all_clients(self) -> list[Client]:
        return [client for client in self._clients if client.connection is not None]

    async def kill_relay(self, fault: Fault) -> None:
        number = self._harness.relay_number()
        async with self._harness.server_locks[number]:
            self._record(fault, self._all_clients())
            await self._harness.restart_server(number, signal.SIGKILL)

    async def drain_relay(self, fault: Fault) -> None:
        await self.drain_server(replace(fault, server=self._harness.relay_number()))

    async def freeze_relay(self, fault: Fault) -> None:
        await self._freeze(fault, self._harness.relay_number(), self._all_clients())

    async def freeze_server(self, fault: Fault) -> None:
        await self._freeze(fault, fault.server, self._clients_of(fault.server))

    async def _freeze(self, fault: Fault, number: int, clients: list[Client]) -> None:
        """Stop the server without ending it."""
        async with self._harness.server_locks[number]:
            self._record(fault, clients)
            pids = self._harness.servers[number].serving_pids
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    async def kill_broker_node(self, fault: Fault) -> None:
        await self._kill_broker_nodes(fault, [fault.server % 3], forget=False)

    async def forget_broker_node(self, fault: Fault) -> None:
        await self._kill_broker_nodes(fault, [fault.server % 3], forget=True)

    async def kill_two_broker_nodes(self, fault: Fault) -> None:
        await self._kill_broker_nodes(fault, [fault.server % 3, (fault.server + 1) % 3], forget=False)

    async def forget_all_broker_nodes(self, fault: Fault) -> None:
        """Everything that NATS knew is lost: messages, streams, and that there was a cluster."""
        await self._kill_broker_nodes(fault, [0, 1, 2], forget=True)

    async def _kill_broker_nodes(self, fault: Fault, numbers: list[int], *, forget: bool) -> None:
        broker = self._broker
        async with AsyncExitStack() as stack:
            for number in sorted(numbers):
                await stack.enter_async_context(self._harness.broker_locks[number])
            self._record(fault, self._all_clients())
            for number in numbers:
                await broker.kill(number, forget=forget)
            await asyncio.sleep(fault.seconds)
            for number in numbers:
                await broker.start_node(number)

    async def freeze_broker_node(self, fault: Fault) -> None:
        number = fault.server % 3
        async with self._harness.broker_locks[number]:
            self._record(fault, self._all_clients())
            self._broker.freeze(number)
            await asyncio.sleep(fault.seconds)
            self._broker.resume(number)

    async def cut_broker(self, fault: Fault) -> None:
        self._record(fault, self._clients_of(fault.server))
        for proxy in self._harness.broker_proxies[fault.server]:
            proxy.cut()

    async def stall_broker(self, fault: Fault) -> None:
        """A server that NATS and the server believe to be connected, and is not."""
        self._record(fault, self._clients_of(fault.server))
        for proxy in self._harness.broker_proxies[fault.server]:
            proxy.stall(True)
        await asyncio.sleep(fault.seconds)
        for proxy in self._harness.broker_proxies[fault.server]:
            proxy.stall(False)

    async def stall_broker_of_relay(self, fault: Fault) -> None:
        await self.stall_broker(replace(fault, server=self._harness.relay_number()))

    @property
    def _broker(self) -> BrokerNodes:
        assert self._harness.broker is not None
        return self._harness.broker

    # ---------------------------------------------------------------- of clients

    async def cut_clients(self, fault: Fault) -> None:
        share = self._connections_hit(fault)
        self._record(fault, [client for client, _ in share])
        for _, link in share:
            link.cut()

    async def stall_clients(self, fault: Fault) -> None:
        share = self._connections_hit(fault)
        self._record(fault, [client for client, _ in share])
        for _, link in share:
            link.stall(True)
        await asyncio.sleep(fault.seconds)
        for _, link in share:
            link.stall(False)

    async def make_clients_half_open(self, fault: Fault) -> None:
        share = self._connections_hit(fault)
        self._record(fault, [client for client, _ in share])
        for _, link in share:
            link.make_half_open()

    async def pause_client_reading(self, fault: Fault) -> None:
        share = [(client, client.connection) for client, _ in self._connections_hit(fault)]
        self._record(fault, [client for client, _ in share])
        for _, line in share:
            assert line is not None
            line.set_reading(False)
        await asyncio.sleep(fault.seconds)
        for _, line in share:
            assert line is not None
            line.set_reading(True)

    async def let_clients_fall_behind(self, fault: Fault) -> None:
        """Commit more events than are replayed while clients are away: they have to fetch anew."""
        here = self._clients_of(fault.server)
        away, staying = here[::2], [here[1::2], self._clients_of(1 - fault.server)]
        self._record(fault, away)
        async with self._harness.postgres_lock:
            connection = await connect_when_recovered(self._harness.postgres.url)
            # A client that has no event yet has no cursor, and nothing to be behind of.
            await connection.execute(self._harness.table.insert_bulk, 1)
            with suppress(TimeoutError):
                async with asyncio.timeout(60):
                    while not all(client.newest_id for client in away):
                        await asyncio.sleep(0.05)
            for client in away:
                client.may_connect.clear()
                if client.connection is not None:
                    client.connection.abort()
            async with connection.transaction():
                await connection.execute(self._harness.table.insert_bulk, MAX_REPLAYED + 500)
                newest = await connection.fetchval("select max(id) from orderwire.journal where txid = pg_current_xact_id()")
            # Until both servers have read them: one that has not would publish them to clients that come back before.
            try:
                async with asyncio.timeout(60):
                    while not all(not clients or any(client.has_event(newest) for client in clients) for clients in staying):
                        await asyncio.sleep(0.05)
            except TimeoutError:
                self.failures.append(f"{fault.kind}: a server did not deliver the events")
            fetches = {client: len(client.fetched_anew) for client in away}
            for client in away:
                client.may_connect.set()
            # What comes after that is an event by which the recovery is measured.
            try:
                async with asyncio.timeout(60):
                    while not all(len(client.fetched_anew) > count for client, count in fetches.items()):
                        await asyncio.sleep(0.05)
            except TimeoutError:
                self.failures.append(f"{fault.kind}: clients were not told to fetch anew")
            await connection.execute(self._harness.table.insert_bulk, 1)
            connection.terminate()

    async def send_garbage(self, fault: Fault) -> None:
        rubbish = self._rng.randbytes(300)
        hello = upgrade_request(None).encode()
        choices = (
            rubbish,
            b"GET /api/ws HTTP/1.1\r\n\r\n",
            upgrade_request("0%00" + "9" * 2000).encode(),
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
        self._record(fault, self._clients_of(fault.server))
        port = self._harness.server_proxies[fault.server].port
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
class FaultKind:
    """The weight with which a kind is drawn, its function, and the range of its duration."""

    weight: int
    inject: Callable[[FaultInjector, Fault], Coroutine[Any, Any, None]]
    seconds: tuple[float, float] = (0.0, 0.0)


FAULT_KINDS = {
    "LISTEN backend terminated": FaultKind(12, FaultInjector.terminate_listener),
    "PostgreSQL kill -9": FaultKind(4, FaultInjector.kill_postgres),
    "server kill -9": FaultKind(5, FaultInjector.kill_server),
    **({"worker kill -9": FaultKind(12, FaultInjector.kill_worker)} if WORKERS > 1 else {}),
    "server drained": FaultKind(4, FaultInjector.drain_server),
    "database connection cut": FaultKind(12, FaultInjector.cut_database),
    "database connection stalled": FaultKind(10, FaultInjector.stall_database, (0.2, 3.0)),
    "database connection half-open": FaultKind(3, FaultInjector.make_database_half_open),
    "client connections cut": FaultKind(15, FaultInjector.cut_clients),
    "client connections stalled": FaultKind(14, FaultInjector.stall_clients, (0.2, 7.0)),
    "client connections half-open": FaultKind(8, FaultInjector.make_clients_half_open),
    "clients stop reading": FaultKind(12, FaultInjector.pause_client_reading, (0.2, 7.0)),
    "clients send garbage": FaultKind(11, FaultInjector.send_garbage, (0.5, 1.0)),
}
# Only when asked for by its name: each takes more events than all others together, or as long. And a server that has just been
# started cannot show that a promoted standby has all that was delivered.
LARGE_FAULT_KINDS = {
    "clients fall behind": FaultKind(1, FaultInjector.let_clients_fall_behind),
    "standby promoted": FaultKind(1, FaultInjector.promote_standby),
}
# With a broker, in addition to the first ones. A server that is frozen for longer than its clients' patience loses them.
CLUSTER_FAULT_KINDS = {
    "relay kill -9": FaultKind(12, FaultInjector.kill_relay),
    "relay drained": FaultKind(6, FaultInjector.drain_relay),
    "relay frozen": FaultKind(8, FaultInjector.freeze_relay, (0.5, 6.0)),
    "server frozen": FaultKind(8, FaultInjector.freeze_server, (0.2, 4.0)),
    "NATS node kill -9": FaultKind(12, FaultInjector.kill_broker_node, (0.2, 3.0)),
    "NATS node forgets": FaultKind(8, FaultInjector.forget_broker_node, (0.2, 3.0)),
    "NATS node frozen": FaultKind(8, FaultInjector.freeze_broker_node, (0.5, 6.0)),
    "two NATS nodes kill -9": FaultKind(5, FaultInjector.kill_two_broker_nodes, (1.0, 5.0)),
    "all NATS nodes forget": FaultKind(5, FaultInjector.forget_all_broker_nodes, (0.5, 6.0)),
    "NATS connection cut": FaultKind(12, FaultInjector.cut_broker),
    "NATS connection stalled": FaultKind(10, FaultInjector.stall_broker, (0.5, 6.0)),
    "relay cut off from NATS": FaultKind(6, FaultInjector.stall_broker_of_relay, (1.0, 8.0)),
}
ALL_FAULT_KINDS = FAULT_KINDS | LARGE_FAULT_KINDS | CLUSTER_FAULT_KINDS


def draw_schedule(seed: int, count: int, seconds: float, kinds: list[str], server_count: int) -> list[Fault]:
    """Draw ``count`` faults: each kind once, the rest by weight."""
    rng = random.Random(seed)
    names = kinds + rng.choices(kinds, [ALL_FAULT_KINDS[name].weight for name in kinds], k=max(0, count - len(kinds)))
    rng.shuffle(names)
    times = sorted(rng.uniform(0, seconds) for _ in names)
    return [
        Fault(at, name, rng.randrange(server_count), rng.uniform(0.05, 0.6), rng.uniform(*ALL_FAULT_KINDS[name].seconds))
        for at, name in zip(times, names, strict=True)
    ]
