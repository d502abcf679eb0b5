"""A server with default limits, 100 well-behaved clients, and a connection that inserts orders."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from contextlib import AsyncExitStack

import aiohttp
import asyncpg

from tests.attacks.floods import ATTACKS
from tests.fuzz.tokens import SECRET, valid_token
from tests.helpers.raw_websocket import RawWebSocket
from tests.support import Message, Process, Server

__all__ = ["CLIENT_COUNT", "Harness"]

CLIENT_COUNT = 100
# Short time-outs, so that slow attacks are rejected within the test.
SETTINGS = {"JWT_SECRET": SECRET, "AUTH_SECONDS": "2", "IDLE_SECONDS": "4", "COMPRESSION": "1"}


class Bystander(RawWebSocket):
    """A well-behaved client that records the arrival times."""

    def __init__(self, parsed: dict[bytes, Message], answers: bool) -> None:
        super().__init__(parsed, answers)
        self.arrivals: list[tuple[str, float]] = []

    def _receive_frame(self, first: int, payload: bytes) -> None:
        known = len(self.events)
        super()._receive_frame(first, payload)
        if len(self.events) > known:
            self.arrivals.append((self.events[-1]["order_number"], asyncio.get_running_loop().time()))


class Harness:
    """``async with Site(url) as harness``, on a migrated database."""

    def __init__(self, url: str) -> None:
        self._url = url
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
            client = await Bystander.connect(self.server.ws_url, parsed=parsed, headers=self._headers)
            self._stack.push_async_callback(client.disconnect)
            self.clients.append(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start_attack(self, name: str) -> Process:
        """Start an attack; return when it is running."""
        token = self._headers["Authorization"].removeprefix("Bearer ")
        attacker = await Process.start(sys.executable, "-m", "tests.attacks.floods", name, self.server.ws_url, token)
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

    async def rejections(self, attack: str) -> float:
        """How often the server has rejected with the reason of this attack."""
        async with self._http.get("/metrics") as response:
            text = await response.text()
        name = f'orderwire_rejections_total{{reason="{ATTACKS[attack][2]}"}}'
        return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)), 0.0)

    def log_failures(self) -> list[str]:
        bad: tuple[str, ...] = ("Traceback", " ERROR ", " CRITICAL ", "never retrieved", "Exception")
        return [line for line in self.server.lines if any(word in line for word in bad)]
