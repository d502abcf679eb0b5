"""A server with default limits, 100 well-behaved clients, and a connection that inserts orders."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import asyncpg

from tests.attacks.floods import ATTACKS
from tests.fuzz.tokens import SECRET, valid_token
from tests.helpers.raw_websocket import RawWebSocket
from tests.support import Message, Process, Server

__all__ = ["CLIENT_COUNT", "MAX_GROWTH_BYTES", "Harness"]

CLIENT_COUNT = 100
# Seconds between two statements of a writer.
PAUSE_SECONDS = 0.5
# By how much the server's memory may grow under a load.
MAX_GROWTH_BYTES = 64 * 1024**2
# Short time-outs, so that slow attacks are rejected within the test.
SETTINGS = {"JWT_SECRET": SECRET, "AUTH_SECONDS": "2", "IDLE_SECONDS": "4", "COMPRESSION": "1"}


class Bystander(RawWebSocket):
    """A well-behaved client that records the arrival times of events, and how long pongs take."""

    def __init__(self, parsed: dict[bytes, Message], answers: bool) -> None:
        super().__init__(parsed, answers)
        self.arrivals: list[tuple[str, float]] = []
        # Seconds, of the pings that were answered; and when the one was sent that is not answered yet.
        self.pong_seconds: list[float] = []
        self._pinged_at: float | None = None

    def ping(self) -> None:
        """Send a ping unless one is not answered yet."""
        if self._pinged_at is None:
            self._pinged_at = asyncio.get_running_loop().time()
            self.send_json({"type": "ping"})

    @property
    def is_answered(self) -> bool:
        """Whether every ping has been answered."""
        return self._pinged_at is None

    def take_pong_seconds(self) -> list[float]:
        """The times since the last call; a ping that is not answered yet counts as answered now."""
        taken, self.pong_seconds = self.pong_seconds, []
        if self._pinged_at is not None:
            taken.append(asyncio.get_running_loop().time() - self._pinged_at)
        return taken

    def _receive_frame(self, first: int, payload: bytes) -> None:
        known, others = len(self.events), len(self.other_messages)
        super()._receive_frame(first, payload)
        if len(self.other_messages) > others and self.other_messages[-1]["type"] == "pong" and self._pinged_at is not None:
            self.pong_seconds.append(asyncio.get_running_loop().time() - self._pinged_at)
            self._pinged_at = None
        if len(self.events) > known:
            self.arrivals.append((self.events[-1]["order_number"], asyncio.get_running_loop().time()))


class Harness:
    """``async with Harness(url) as harness``, on a migrated database."""

    def __init__(self, url: str, topics: str = "orders,analytics") -> None:
        """``topics``: those of the well-behaved clients."""
        self._url = url
        self._topics = topics
        self._stack = AsyncExitStack()
        self._headers = {"Authorization": f"Bearer {valid_token(random.Random(1), 'admin')}"}
        self.clients: list[Bystander] = []
        # order number → time of the INSERT
        self.written: dict[str, float] = {}

    async def __aenter__(self) -> Harness:
        self.database = await asyncpg.connect(self._url)
        self._stack.push_async_callback(self.database.close)
        self.server = await Server.serve(self._url, **SETTINGS)
        self._stack.push_async_callback(self.server.kill)
        await self.server.wait_until_ready()
        self._http = aiohttp.ClientSession(self.server.http_url, headers=self._headers)
        self._stack.push_async_callback(self._http.close)
        parsed: dict[bytes, Message] = {}
        for _ in range(CLIENT_COUNT):
            url = f"{self.server.ws_url}?topics={self._topics}"
            client = await Bystander.connect(url, parsed=parsed, headers=self._headers)
            self._stack.push_async_callback(client.disconnect)
            self.clients.append(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start_attack(self, name: str) -> Process:
        """Start an attack; return when it is running."""
        token = self._headers["Authorization"].removeprefix("Bearer ")
        attacker = await Process.start(sys.executable, "-m", "tests.attacks.attacker", name, self.server.ws_url, token)
        self._stack.push_async_callback(attacker.kill)
        await attacker.wait_for_line("attacking")
        return attacker

    async def stop_attack(self, attacker: Process) -> dict[str, int]:
        """Stop the attack; return how often the attacker received each answer."""
        await attacker.stop()
        return dict(json.loads((await attacker.wait_for_line("answers")).removeprefix("answers ")))

    async def insert_orders(self, count: int, pause: float = 0.0) -> list[str]:
        """Insert orders, each in its own transaction; return their order numbers."""
        numbers = []
        for _ in range(count):
            number = f"N-{len(self.written) + 1}"
            self.written[number] = asyncio.get_running_loop().time()
            await self.database.execute(
                "insert into orders (order_number, customer_name, total) values ($1, 'Anna', 1)", number
            )
            numbers.append(number)
            await asyncio.sleep(pause)
        return numbers

    async def check_all_events_arrived(self) -> None:
        """Wait for all events; assert that every client received each once and none was closed."""
        for client in self.clients:
            await client.wait_until(lambda c: len(c.events) >= len(self.written), "every event")
        for client in self.clients:
            assert [event["order_number"] for event in client.events] == list(self.written)
            assert client.close_code is None
            assert not client.lost

    def latencies(self, numbers: list[str]) -> list[float]:
        """Seconds from INSERT to arrival, for all clients."""
        wanted = set(numbers)
        return [at - self.written[number] for client in self.clients for number, at in client.arrivals if number in wanted]

    async def measure_pongs(self, seconds: float, writer: str) -> list[float]:
        """Have each client ping about once a second while ``writer``, a statement, is run again and again; return the times."""

        async def write() -> None:
            while True:
                await self.database.execute(writer)
                await asyncio.sleep(PAUSE_SECONDS)

        writing = asyncio.create_task(write())
        try:
            for tick in range(int(seconds * CLIENT_COUNT)):
                self.clients[tick % CLIENT_COUNT].ping()
                await asyncio.sleep(1 / CLIENT_COUNT)
            if writing.done():
                await writing  # raises
            return [taken for client in self.clients for taken in client.take_pong_seconds()]
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def prepare(self, statement: str) -> None:
        """Run a statement of a writer, and return when what it has written is published."""
        await self.database.execute(statement)
        count = await self.database.fetchval("select count(*) from orders")
        await self.clients[0].wait_until(lambda client: client.totals["total_orders"] == count, "the totals after it")

    async def ping_all(self) -> None:
        """Have each client ping, and return when all are answered."""
        for client in self.clients:
            client.ping()
        for client in self.clients:
            await client.wait_until(lambda _, client=client: client.is_answered, "a pong")  # type: ignore[misc]

    def peak_memory(self) -> int:
        """The most bytes of memory that the processes of the server have held since ``forget_peak_memory``."""
        return sum(self._memory(pid, "VmHWM") for pid in self.server.serving_pids)

    def forget_peak_memory(self) -> int:
        """Begin to measure the peak anew; returns what is held now."""
        for pid in self.server.serving_pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        return sum(self._memory(pid, "VmRSS") for pid in self.server.serving_pids)

    @staticmethod
    def _memory(pid: int, field: str) -> int:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

    async def newest_cursor(self) -> str:
        """The id of the newest event."""
        async with self._http.get("/api/orders", params={"limit": "1"}) as response:
            return str((await response.json())["position"])

    async def median_resume_seconds(self, cursor: str, seconds: float) -> float:
        """The median of ``resume_seconds``, tried twice a second."""
        taken = []
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            taken.append(await self.resume_seconds(cursor))
            await asyncio.sleep(0.5)
        return statistics.median(taken)

    async def resume_seconds(self, cursor: str) -> float:
        """How long a client waits that resumes from ``cursor``: until the server has said whether it can."""
        started = asyncio.get_running_loop().time()
        async with self._http.ws_connect("/api/ws", params={"last_event_id": cursor}) as ws:
            async for message in ws:
                if json.loads(message.data)["type"] == "resumed":
                    break
        return asyncio.get_running_loop().time() - started

    async def rejections(self, attack: str) -> float:
        """How often the server has rejected with the reason of this attack."""
        async with self._http.get("/metrics") as response:
            text = await response.text()
        name = f'orderwire_rejections_total{{reason="{ATTACKS[attack][2]}"}}'
        return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)), 0.0)

    def log_failures(self) -> list[str]:
        bad: tuple[str, ...] = ("Traceback", " ERROR ", " CRITICAL ", "never retrieved", "Exception")
        return [line for line in self.server.lines if any(word in line for word in bad)]
