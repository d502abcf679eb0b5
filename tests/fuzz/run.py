"""One fuzz run: two servers, scripts that send invalid input, and bystanders that must be unaffected."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from tests.fuzz.scripts import CUSTOMER_NAME, SCRIPTS, Tally, Target
from tests.fuzz.tokens import CANARY, SECRET, valid_token
from tests.stress.harness import memory_mib, open_files
from tests.support import Client, Server

__all__ = ["Plan", "Report", "fuzz"]

# Raises the rate limits, which would reject most inputs. The limits on sizes and numbers keep their defaults.
SETTINGS = {
    "HANDSHAKES_PER_SECOND": "1000000",
    "FRAMES_PER_SECOND": "1000000",
    "BYTES_PER_SECOND": "1000MiB",
    "SEND_QUEUE_FRAMES": "1000000",
    "SEND_QUEUE_BYTES": "1000MiB",
    "IDLE_SECONDS": "5",
    # On a busy machine a session of hundreds of messages may take long.
    "AUTH_SECONDS": "600",
    "LOG_LEVEL": "DEBUG",
    # The server accepts compressed messages.
    "COMPRESSION": "1",
}
# Orders of the customers in the fuzzer's tokens. Orders that are inserted during the run belong to others.
CUSTOMER_ORDERS = 60
# Between two writes, and from so many writes on: a server remembers events, and a slow machine takes longer for the inputs.
WRITE_SECONDS = 0.2
MANY_WRITES = 500
SECONDS_AFTER_MANY_WRITES = 5.0
CONCURRENT_SCRIPTS = 48
# Memory is compared with that after a tenth of the inputs, when caches are full.
WARM_UP_FRACTION = 0.1
MAX_MEMORY_GROWTH_MIB = 24.0
MAX_FILE_GROWTH = 4
SETTLE_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    inputs: int = 1_000_000
    # Run only this script.
    script: int | None = None


@dataclass(slots=True)
class Report:
    plan: Plan
    failures: list[str] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)

    def table(self) -> str:
        lines = [f"{name:<28}{value}" for name, value in self.figures]
        lines += [f"FAILED: {text}" for text in self.failures]
        lines.append(f"{'seed':<28}{self.plan.seed}   {'failed' if self.failures else 'passed'}")
        return "\n".join(lines)


class SseReader:
    """A bystander that reads Server-Sent Events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.ids: list[str] = []
        self.ended = False
        self._task = asyncio.create_task(self._read(response), name="sse reader")

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        waiting = ""
        with suppress(aiohttp.ClientError):
            async for line in response.content:
                if line.startswith(b"id: "):
                    waiting = line[4:].strip().decode()
                elif line.startswith(b"data: ") and waiting:
                    self.ids.append(waiting)
                if not line.strip():
                    waiting = ""
        self.ended = True

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class Bystanders:
    """Well-behaved clients of one server, which must receive every event exactly once."""

    def __init__(self, target: Target, clients: list[Client], streams: list[SseReader], customer: Client | None) -> None:
        self.target = target
        self._clients = clients
        self._streams = streams
        self._customer = customer

    @property
    def sessions(self) -> int:
        return len(self._clients) + len(self._streams) + (self._customer is not None)

    async def check_events(self, events: list[tuple[str, int]]) -> list[str]:
        """Compare the events that they received with these: (event id, order id). Returns the failures."""
        wanted = [number for number, _ in events]
        own = [number for number, order in events if order <= CUSTOMER_ORDERS]

        def missing() -> bool:
            behind = [len(client.events) < len(wanted) for client in self._clients]
            behind += [len(stream.ids) < len(wanted) for stream in self._streams]
            if self._customer is not None:
                behind.append(len(self._customer.events) < len(own))
            return any(behind)

        deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
        while missing() and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        failures = []
        lists = [("a WebSocket", [frame["id"] for frame in client.events], wanted) for client in self._clients]
        lists += [("a stream", stream.ids, wanted) for stream in self._streams]
        if self._customer is not None:
            lists.append(("a customer", [frame["id"] for frame in self._customer.events], own))
        for kind, ids, expected in lists:
            if [cursor.rpartition("-")[2] for cursor in ids] != expected:
                failures.append(f"{kind} on {self.target.name} has {len(ids)} of {len(expected)} events, or in another order")
        if any(client.ws.closed for client in self._clients) or any(stream.ended for stream in self._streams):
            failures.append(f"a bystander on {self.target.name} was closed")
        return failures


async def _writer(url: str) -> None:
    connection = await asyncpg.connect(url)
    number = 0
    try:
        while True:
            number += 1
            await connection.execute("insert into orders (customer_name, total) values ($1, 1)", CUSTOMER_NAME)
            status = ("confirmed", "preparing")[number // CUSTOMER_ORDERS % 2]
            await connection.execute("update orders set status = $2 where id = $1", number % CUSTOMER_ORDERS + 1, status)
            await asyncio.sleep(WRITE_SECONDS if number < MANY_WRITES else SECONDS_AFTER_MANY_WRITES)
    finally:
        connection.terminate()


class Harness:
    """``async with Harness(url) as harness``: a server with login, one without, and the bystanders of both."""

    def __init__(self, url: str, more_settings: dict[str, str] | None = None) -> None:
        self._url = url
        self._settings = {**SETTINGS, **(more_settings or {})}
        self._stack = AsyncExitStack()
        self.servers: list[Server] = []
        self.bystanders: list[Bystanders] = []
        self._rng = random.Random(0)

    async def __aenter__(self) -> Harness:
        self.database = await asyncpg.connect(self._url)
        self._stack.push_async_callback(self.database.close)
        await self.database.execute(
            "insert into orders (customer_name, customer_id, total) select 'Anna', 'anna', 1 from generate_series(1, $1)",
            CUSTOMER_ORDERS,
        )
        self._last = await self.database.fetchval("select max(id) from orderwire.journal")
        for name, settings in (("the server with login", {"JWT_SECRET": SECRET}), ("the server without", {})):
            server = await Server.serve(self._url, **self._settings, **settings)
            self._stack.push_async_callback(server.kill)
            self.servers.append(await server.wait_until_ready())
            self.bystanders.append(await self._connect_bystanders(name, server, login=bool(settings)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _headers(self, login: bool, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {valid_token(self._rng, role, 'anna')}"} if login else {}

    async def _connect_bystanders(self, name: str, server: Server, *, login: bool) -> Bystanders:
        admin = self._headers(login, "admin")
        http = aiohttp.ClientSession(headers=admin, timeout=aiohttp.ClientTimeout(total=None))
        self._stack.push_async_callback(http.close)
        clients = [await Client.connect(server.ws_url, headers=admin) for _ in range(3)]
        customer = None
        if login:
            topics = ",".join(f"order:{number}" for number in range(1, CUSTOMER_ORDERS + 1))
            customer = await Client.connect(f"{server.ws_url}?topics={topics}", headers=self._headers(login, "customer"))
        for client in (*clients, *([customer] if customer else [])):
            self._stack.push_async_callback(client.disconnect)
            await client.wait_until(lambda c: bool(c.messages), "the first frame")
        streams = [SseReader(await http.get(server.http_url + "/api/sse"))]
        self._stack.push_async_callback(streams[0].stop)
        async with http.get(server.http_url + "/api/events") as response:
            epoch = (await response.json())["next"].partition("-")[0]
        target = Target(name, urlsplit(server.http_url).port or 0, login, epoch)
        return Bystanders(target, clients, streams, customer)

    async def recorded_events(self) -> list[tuple[str, int]]:
        """The events since all bystanders were connected, in order: (event id, order id)."""
        rows = await self.database.fetch(
            "select id, key::bigint as order_id from orderwire.journal where id > $1 order by id", self._last
        )
        return [(str(row["id"]), row["order_id"]) for row in rows]

    async def wait_until_disconnected(self) -> list[str]:
        """Wait until only the bystanders are connected. Returns a failure if others stay connected."""
        failures = []
        for server, bystanders in zip(self.servers, self.bystanders, strict=True):
            deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
            while (
                sockets := await self._tcp_connections(server, bystanders)
            ) > bystanders.sessions + 1 and time.monotonic() < deadline:
                await asyncio.sleep(0.5)
            if sockets > bystanders.sessions + 1:
                failures.append(f"{bystanders.target.name} has {sockets} connections, {bystanders.sessions} clients")
        return failures

    async def _tcp_connections(self, server: Server, bystanders: Bystanders) -> int:
        headers = self._headers(bystanders.target.login, "admin")
        async with aiohttp.request("GET", server.http_url + "/metrics", headers=headers) as response:
            text = await response.text()
        return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith("orderwire_tcp_connections "))))

    async def check_http(self) -> list[str]:
        failures = []
        for server, bystanders in zip(self.servers, self.bystanders, strict=True):
            headers = self._headers(bystanders.target.login, "admin")
            for path in ("/healthz", "/readyz", "/api/analytics", "/api/orders", "/api/events", "/metrics"):
                async with aiohttp.request("GET", server.http_url + path, headers=headers) as response:
                    if response.status != 200:
                        failures.append(f"{bystanders.target.name} answers {path} with {response.status}")
        return failures

    async def stop_and_check_logs(self) -> list[str]:
        """Stop the servers and check their logs. Returns the failures."""
        failures = []
        password = urlsplit(self._url).password or SECRET
        for server, bystanders in zip(self.servers, self.bystanders, strict=True):
            started = next(number for number, line in enumerate(server.lines) if "ready; Ctrl-C stops" in line)
            if (code := await server.stop()) != 0:
                failures.append(f"{bystanders.target.name} ended with {code}")
            bad = ("Traceback", " WARNING ", " ERROR ", " CRITICAL ", "never retrieved", "Exception", "never awaited")
            secret = (CANARY, SECRET, password, "eyJ", "earer")
            for number, line in enumerate(server.lines[started:], started):
                if any(word in line for word in (*bad, *secret)):
                    failures.append(
                        f"in the log of {bystanders.target.name}: " + " | ".join(server.lines[number - 1 : number + 30])
                    )
                    break
        return failures


async def fuzz(plan: Plan, url: str, print_line: Callable[[str], None]) -> Report:
    """Run the plan on a migrated, empty database, and report."""
    report, tally = Report(plan), Tally()
    start = time.monotonic()
    async with Harness(url) as harness:
        targets = [bystanders.target for bystanders in harness.bystanders]
        writing = asyncio.create_task(_writer(url), name="writer")
        try:
            before: list[tuple[float, int]] = []
            if plan.script is not None:
                await _run_script(plan.seed, plan.script, targets, tally)
            else:
                done = await _run_scripts(plan, 0, round(plan.inputs * WARM_UP_FRACTION), targets, tally, print_line)
                report.failures += await harness.wait_until_disconnected()
                before = [(memory_mib(server), open_files(server)) for server in harness.servers]
                await _run_scripts(plan, done, plan.inputs, targets, tally, print_line)
        finally:
            writing.cancel()
            await asyncio.wait([writing])
        report.failures += tally.failures
        report.failures += await harness.wait_until_disconnected()
        events = await harness.recorded_events()
        for bystanders in harness.bystanders:
            report.failures += await bystanders.check_events(events)
        report.failures += await harness.check_http()
        for server, target, was in zip(harness.servers, targets, before, strict=False):
            now = memory_mib(server), open_files(server)
            figure = f"{was[0]:.0f} → {now[0]:.0f} MiB, {was[1]} → {now[1]} open files"
            report.figures.append((target.name, f"{figure} (may be {MAX_MEMORY_GROWTH_MIB:.0f} and {MAX_FILE_GROWTH} more)"))
            if now[0] > was[0] + MAX_MEMORY_GROWTH_MIB or now[1] > was[1] + MAX_FILE_GROWTH:
                report.failures.append(f"{target.name} has grown: {figure}")
        report.failures += await harness.stop_and_check_logs()
    seconds = time.monotonic() - start
    report.figures += [(kind, f"{count:,}") for kind, count in tally.inputs.most_common()]
    report.figures.append(("inputs", f"{tally.sent:,} in {seconds:.0f} s"))
    report.figures.append(
        ("bystanders", f"{sum(bystanders.sessions for bystanders in harness.bystanders)}, {len(events)} events")
    )
    return report


async def _run_scripts(
    plan: Plan, first_script: int, until_inputs: int, targets: list[Target], tally: Tally, print_line: Callable[[str], None]
) -> int:
    """Run scripts from ``first_script`` on until ``until_inputs`` inputs have been sent; return the last script number."""
    number = first_script
    printed_at = time.monotonic()

    async def run_scripts() -> None:
        nonlocal number, printed_at
        while tally.sent < until_inputs and len(tally.failures) < 10:
            number += 1
            await _run_script(plan.seed, number, targets, tally)
            if time.monotonic() > printed_at + 10:
                printed_at = time.monotonic()
                print_line(f"{tally.sent:,} inputs, {number:,} connections")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONCURRENT_SCRIPTS):
            tasks.create_task(run_scripts())
    return number


async def _run_script(seed: int, script_number: int, targets: list[Target], tally: Tally) -> None:
    rng = random.Random(f"{seed} {script_number}")
    target = targets[0] if rng.random() < 0.7 else targets[1]
    (script,) = rng.choices(list(SCRIPTS), list(SCRIPTS.values()))
    try:
        await script(target, rng, tally)
    except (AssertionError, ConnectionError, TimeoutError) as error:
        tally.failures.append(f"script {script_number} ({script.__name__}, {target.name}): {type(error).__name__}: {error}")
