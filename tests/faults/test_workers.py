"""Several workers on one port: they give the guarantees of one server, and the death of a worker does not affect the others."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest

from service.supervisor import Supervisor
from settings import Settings
from tests.helpers.metrics import metric_sum
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, free_port, wait_until, within

# With 20 clients, all are on one of two workers only once in half a million runs.
CLIENTS = 20
INSERT_SQL = "insert into orders (customer_name, total) values ('Anna', 1)"


async def wait_until_replaced(server: Server, killed: int) -> None:
    async def back() -> bool:
        return (
            len(server.worker_pids) == 2
            and killed not in server.serving_pids
            and await metric_sum(server, "orderwire_ready") == 1
        )

    await wait_until(back, "two workers")


def warning_messages(server: Server) -> list[str]:
    """All warnings except the one about the superuser, which the tests always get."""
    found = [line.partition("WARNING ")[2] for line in server.lines if "WARNING" in line]
    return [line for line in found if "the server is a superuser" not in line]


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Dashboard:
    """A client that reconnects with its cursor and ignores duplicates."""

    def __init__(self, server: Server, connect: Connect) -> None:
        self._server = server
        self._connect = connect
        self.ids: dict[str, int] = {}
        self.reconnects = 0
        self.client: Client

    async def open(self) -> Dashboard:
        self.client = await self._connect(self._server.ws_url)
        await self.client.wait_until(lambda c: bool(c.messages), "the totals")
        return self

    async def wait_for_events(self, count: int) -> None:
        """Return when it has received ``count`` events, over any number of connections."""
        while True:
            try:
                await self.client.wait_until(lambda c: len(self.ids | self._new_events(c)) >= count, f"{count} events")
                self.ids |= self._new_events(self.client)
                return
            except AssertionError:
                if self.client.close_code is None:
                    raise
            self.reconnects += 1
            self.ids |= self._new_events(self.client)
            cursor = next(reversed(self.ids), None)
            query = f"?last_event_id={cursor}" if cursor is not None else ""
            try:
                self.client = await self._connect(self._server.ws_url + query)
            except aiohttp.ClientConnectionError:  # the kernel had assigned it to the dying worker
                self.client = await self._connect(self._server.ws_url + query)
            if cursor is not None:
                await self.client.wait_until(lambda c: bool(c.of_type("resumed")), "an answer to the resume")
                assert self.client.of_type("resumed")[0]["recovered"] is True

    @staticmethod
    def _new_events(client: Client) -> dict[str, int]:
        return {event["id"]: event["order_id"] for event in client.events}


async def open_dashboards(server: Server, connect: Connect) -> list[Dashboard]:
    return [await Dashboard(server, connect).open() for _ in range(CLIENTS)]


async def test_killed_worker_is_replaced_without_loss(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, WORKERS="2")
    assert sorted(server.worker_pids) == [1, 2]
    clients = await open_dashboards(server, connect)
    await db.execute(INSERT_SQL)
    await asyncio.gather(*(client.wait_for_events(1) for client in clients))
    assert await metric_sum(server, "orderwire_sessions") == CLIENTS
    before = {name: await metric_sum(server, name) for name in ("orderwire_events_total", "orderwire_sent_messages_total")}
    assert before["orderwire_events_total"] == 1  # though each worker has published it
    assert before["orderwire_sent_messages_total"] >= 2 * CLIENTS

    following = [asyncio.create_task(client.wait_for_events(401)) for client in clients]
    killed = server.worker_pids[1]
    for n in range(400):
        await db.execute(INSERT_SQL)
        if n == 100:
            os.kill(killed, signal.SIGKILL)
    await asyncio.gather(*following)
    journal = [row[0] for row in await db.fetch("select key::bigint from orderwire.journal order by id")]
    for client in clients:
        # One writer: every client receives the events in the order of the journal.
        assert list(client.ids.values()) == journal
    cut = [client for client in clients if client.reconnects]
    assert 0 < len(cut) < CLIENTS
    assert {client.client.close_code for client in clients} == {None}

    await wait_until_replaced(server, killed)
    assert warning_messages(server) == ["worker 1 has ended (Killed): starting another"]
    for name, value in before.items():
        assert await metric_sum(server, name) >= value
    assert await metric_sum(server, "orderwire_sessions") == CLIENTS
    # The new worker serves too: of 20 more clients some are on it.
    again = await open_dashboards(server, connect)
    killed = server.worker_pids[2]
    os.kill(killed, signal.SIGKILL)
    following = [asyncio.create_task(client.wait_for_events(1)) for client in again]
    await wait_until_replaced(server, killed)
    await db.execute(INSERT_SQL)
    await asyncio.gather(*following)
    assert 0 < sum(client.reconnects for client in again) < CLIENTS


async def listener_count(db: Any) -> int:
    count: int = await db.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'orderwire listener'"
    )
    return count


def relays(server: Server) -> list[int]:
    """The workers that have become the relay, in this order."""
    lines = [line for line in server.lines if "this process reads the journal for all" in line]
    return [int(line.rpartition("worker_id=")[2].rstrip("]")) for line in lines]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_relay_that_dies_or_hangs_is_replaced_without_loss(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, how: signal.Signals
) -> None:
    server: Server = await start_server(database_url, WORKERS="3", LOG_LEVEL="DEBUG")
    clients = await open_dashboards(server, connect)
    assert await listener_count(db) == 1
    assert await metric_sum(server, "orderwire_relay") == 1
    (first,) = relays(server)
    relay_pid = server.worker_pids[first]
    for n in range(200):
        await db.execute(INSERT_SQL)
        if n == 50:
            os.kill(relay_pid, how)

    async def replaced() -> bool:
        # With a broker between them the process that takes the place of a killed one may be the first to have the lease.
        return len(relays(server)) > 1

    await wait_until(replaced, "another relay")
    if how == signal.SIGSTOP:
        os.kill(relay_pid, signal.SIGCONT)
    await db.execute(INSERT_SQL)
    await asyncio.gather(*(client.wait_for_events(201) for client in clients))
    journal = [row[0] for row in await db.fetch("select key::bigint from orderwire.journal order by id")]
    for client in clients:
        assert list(client.ids.values()) == journal
        await client.client.wait_until(lambda c: c.totals["total_orders"] == 201, "the totals")

    async def one_listens() -> bool:
        return await listener_count(db) == 1

    await wait_until(one_listens, "one that listens")


async def test_workers_are_told_of_revoked_tokens_and_of_corrected_totals(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    """One worker looks into the database for all."""
    server: Server = await start_server(database_url, WORKERS="3", AUDIT_SECONDS="1", JWT_SECRET=SECRET)
    headers = {"Authorization": f"Bearer {token('admin', sub='someone', iat=int(time.time()) - 60)}"}
    clients = [await connect(server.ws_url, headers=headers) for _ in range(CLIENTS)]
    await db.execute("set session_replication_role = replica")
    await db.execute("insert into orders (order_number, customer_name, total) values ('silent', 'Anna', 1)")
    await db.execute("reset session_replication_role")
    for client in clients:
        await client.wait_until(lambda c: c.totals["total_orders"] == 1, "the corrected totals")
    await db.execute("select orderwire.revoke('someone')")
    assert {await client.wait_closed() for client in clients} == {3500}


async def test_counters_never_decrease_when_a_worker_dies(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, WORKERS="2")
    clients = await open_dashboards(server, connect)
    names = ("sent_messages_total", "sent_bytes_total", "delivery_seconds_count", "events_total")
    found = dict.fromkeys((f"orderwire_{name}" for name in names), 0.0)
    for round_number in range(1, 7):
        for _ in range(20):
            await db.execute(INSERT_SQL)
        await asyncio.gather(*(client.wait_for_events(20 * round_number) for client in clients))
        for name in found:
            value = await metric_sum(server, name)
            assert value >= found[name], name
            found[name] = value
        # Kill each worker, alternately.
        if round_number % 2 == 0:
            killed = server.worker_pids[1 + round_number // 2 % 2]
            os.kill(killed, signal.SIGKILL)
            await wait_until_replaced(server, killed)
    # Each worker has published nearly every event, but each event is counted once.
    assert found["orderwire_events_total"] <= 120 < found["orderwire_delivery_seconds_count"]
    assert found["orderwire_sent_messages_total"] > CLIENTS * 100


async def test_stopped_worker_is_not_ready_and_does_not_delay_the_other(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, WORKERS="2")
    clients = await open_dashboards(server, connect)
    os.kill(server.worker_pids[1], signal.SIGSTOP)
    try:
        async with aiohttp.ClientSession() as http:

            async def is_not_ready() -> bool:
                try:  # the kernel may assign the connection to the stopped worker
                    async with http.get(server.http_url + "/metrics", timeout=aiohttp.ClientTimeout(3)) as response:
                        return "\norderwire_ready 0.0" in await response.text()
                except TimeoutError:
                    return False

            await wait_until(is_not_ready, "not ready")
        await db.execute(INSERT_SQL)

        async def served() -> bool:
            return 0 < sum(bool(client.client.events) for client in clients) < CLIENTS

        await wait_until(served, "the clients of the other worker get the event")
    finally:
        os.kill(server.worker_pids[1], signal.SIGCONT)
    await asyncio.gather(*(client.wait_for_events(1) for client in clients))
    assert sum(client.reconnects for client in clients) == 0

    async def ready() -> bool:
        return await metric_sum(server, "orderwire_ready") == 1

    await wait_until(ready, "ready again")


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "Ctrl-C"])
async def test_all_workers_drain_at_a_signal(start_server: StartServer, connect: Connect, database_url: str, how: str) -> None:
    server: Server = await start_server(database_url, WORKERS="2", LOG_LEVEL="DEBUG")
    clients = await open_dashboards(server, connect)
    pids = server.serving_pids
    if how == "Ctrl-C":  # a terminal signals the whole process group
        os.killpg(server.process.pid, signal.SIGINT)
    else:
        server.process.send_signal(signal.Signals[how])
    assert [await client.client.wait_closed() for client in clients] == [3001] * CLIENTS
    assert await server.wait_for_exit() == 0
    assert not any(map(is_running, pids))
    assert Counter(line[9:] for line in server.lines if "draining" in line) == {
        "DEBUG draining": 1,
        "DEBUG draining  [worker_id=1]": 1,
        "DEBUG draining  [worker_id=2]": 1,
    }
    assert warning_messages(server) == []
    assert "Traceback" not in server.output


async def test_ctrl_c_during_the_start(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, wait=False, WORKERS="2")

    async def started() -> bool:
        return len(server.worker_pids) == 2

    await wait_until(started, "two processes")
    os.killpg(server.process.pid, signal.SIGINT)
    assert await server.wait_for_exit() == 0
    assert server.output == ""


async def test_worker_with_sigterm_drains_and_is_replaced(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    server: Server = await start_server(database_url, WORKERS="2")
    clients = await open_dashboards(server, connect)
    terminated = server.worker_pids[2]
    os.kill(terminated, signal.SIGTERM)
    await server.wait_for_line("worker 2 has ended (exit code 0): starting another")
    await wait_until_replaced(server, terminated)
    closed = [client for client in clients if client.client.close_code is not None]
    assert 0 < len(closed) < CLIENTS
    assert {client.client.close_code for client in closed} == {3001}


async def test_no_worker_outlives_its_supervisor(start_server: StartServer, connect: Connect, database_url: str) -> None:
    port = free_port()
    server: Server = await start_server(database_url, WORKERS="2", PORT=port)
    clients = await open_dashboards(server, connect)
    pids = server.serving_pids
    server.process.kill()
    assert [await client.client.wait_closed() for client in clients] == [3001] * CLIENTS
    await server.wait_for_exit()  # its output ends when the last worker has exited

    async def gone() -> bool:
        return not any(map(is_running, pids))

    await wait_until(gone, "no worker is left")
    again: Server = await start_server(database_url, WORKERS="2", PORT=port)
    await open_dashboards(again, connect)


@pytest.mark.parametrize(("first", "second"), [("2", "2"), ("1", "2"), ("2", "1")])
async def test_port_in_use_is_one_line(start_server: StartServer, database_url: str, first: str, second: str) -> None:
    server: Server = await start_server(database_url, WORKERS=first)
    port = server.http_url.rpartition(":")[2]
    late: Server = await start_server(database_url, wait=False, WORKERS=second, PORT=port)
    assert await late.wait_for_exit() == 1
    (line,) = late.lines
    assert line.startswith(f"server.py: cannot listen on 127.0.0.1:{port}: ")
    assert line.endswith(": Address already in use; choose another with PORT=…")
    assert len(server.serving_pids) == int(first)


@pytest.mark.parametrize(
    ("settings", "code", "text"),
    [
        ({"JWT_PUBLIC_KEY": "/nowhere/key.pem"}, 2, "JWT_PUBLIC_KEY"),
        ({"TLS_CERT_FILE": "/nowhere/a.pem", "TLS_KEY_FILE": "/nowhere/b.pem"}, 2, "TLS_CERT_FILE"),
        ({"HOST": "192.0.2.1"}, 1, "cannot listen on 192.0.2.1"),
        ({"WORKERS": "0"}, 2, "WORKERS=0"),
    ],
)
async def test_invalid_setting_is_reported_once(
    start_server: StartServer, database_url: str, settings: dict[str, str], code: int, text: str
) -> None:
    server: Server = await start_server(database_url, wait=False, **{"WORKERS": "3", **settings})
    assert await server.wait_for_exit() == code
    assert len(server.lines) == 1, server.output
    assert text in server.output


async def test_unusable_database_stops_all_workers_with_one_line(start_server: StartServer, database_url: str, db: Any) -> None:
    await db.execute("insert into orderwire.migrations (number, name, checksum) values (999, '999_future.sql', '')")
    server: Server = await start_server(database_url, wait=False, WORKERS="2")
    assert await server.wait_for_exit() == 1
    assert len(server.lines) == 1
    assert "999_future.sql" in server.output


async def test_log_records_contain_the_worker_id(start_server: StartServer, connect: Connect, database_url: str) -> None:
    server: Server = await start_server(database_url, WORKERS="2", LOG_FORMAT="json", LOG_LEVEL="DEBUG")
    await open_dashboards(server, connect)
    await server.stop()
    lines = [json.loads(line) for line in server.lines if line.startswith("{")]
    begun = Counter(line["worker_id"] for line in lines if line["message"] == "session opened")
    assert set(begun) == {1, 2}
    assert sum(begun.values()) == CLIENTS


async def test_worker_that_cannot_be_started_is_retried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, database_url: str
) -> None:
    supervisor = Supervisor(Settings.from_environment({"PORT": "0", "WORKERS": "2"}))
    await supervisor.reserve_port()
    tasks = [asyncio.create_task(task) for task in supervisor.tasks(database_url).values()]
    try:
        await within(TIMEOUT_SECONDS, supervisor.started.wait(), "two workers")
        start, failed = asyncio.create_subprocess_exec, asyncio.Event()

        async def fail(*_: Any, **__: Any) -> asyncio.subprocess.Process:
            failed.set()
            monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        monkeypatch.setattr(asyncio, "create_subprocess_exec", fail)
        first = supervisor._workers[0]
        assert first.process is not None
        pid = first.process.pid
        os.kill(pid, signal.SIGKILL)
        await within(TIMEOUT_SECONDS, failed.wait(), "the failure")

        async def back() -> bool:
            return first.process is not None and first.process.pid != pid

        await wait_until(back, "another worker")
    finally:
        await within(TIMEOUT_SECONDS, supervisor.drain(), "the end")
        await asyncio.gather(*tasks)
    messages = [record.getMessage() for record in caplog.records if record.name == "orderwire.workers"]
    assert messages == [
        "worker 1 has ended (Killed): starting another",
        "worker 1 has ended ([Errno 11] Resource temporarily unavailable): starting another",
    ]


async def test_worker_that_does_not_drain_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, database_url: str
) -> None:
    monkeypatch.setattr("service.supervisor.EXIT_TIMEOUT_SECONDS", 5.0)
    supervisor = Supervisor(Settings.from_environment({"PORT": "0", "WORKERS": "2"}))
    await supervisor.reserve_port()
    tasks = [asyncio.create_task(task) for task in supervisor.tasks(database_url).values()]
    try:
        await within(TIMEOUT_SECONDS, supervisor.started.wait(), "two workers")
        pids = [worker.process.pid for worker in supervisor._workers if worker.process is not None]
        os.kill(pids[0], signal.SIGSTOP)
    finally:
        await within(TIMEOUT_SECONDS, supervisor.drain(), "the end")
        await asyncio.gather(*tasks)
    assert not any(map(is_running, pids))
    assert [record.getMessage() for record in caplog.records if record.name == "orderwire.workers"] == [
        "worker 1 did not end in 5 s: killed"
    ]
