"""Clients that keep the state of all orders, as a dashboard does, over any number of connections and servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import aiohttp

from tests.support import TIMEOUT_SECONDS, Message

__all__ = ["Dashboard", "Dashboards"]

State = dict[str, tuple[str, Decimal]]


class Dashboard:
    """One client. It believes what it is told: it fetches the orders anew only when a resume says so."""

    def __init__(self, http_url: Callable[[], str]) -> None:
        self._http_url = http_url
        self.orders: State = {}
        self.totals: Message = {}
        self.cursor: str | None = None
        # Since the orders were fetched last.
        self.event_ids: set[str] = set()
        self.answers: list[Message] = []
        self._ws: aiohttp.ClientWebSocketResponse | None = None

    async def run(self) -> None:
        """Connect, and reconnect after each loss, until this task is cancelled."""
        async with aiohttp.ClientSession() as http:
            while True:
                with suppress(aiohttp.ClientError, OSError):
                    query = "" if self.cursor is None else f"?last_event_id={quote(self.cursor)}"
                    async with http.ws_connect(f"{self._http_url()}/api/ws{query}") as self._ws:
                        if self.cursor is None:
                            await self._fetch(http)
                        async for message in self._ws:
                            await self._take(http, json.loads(message.data))
                self._ws = None
                await asyncio.sleep(0.1)

    async def _take(self, http: aiohttp.ClientSession, message: Message) -> None:
        if message["type"] == "analytics_update":
            self.totals = message
        elif message["type"] == "resumed":
            self.answers.append(message)
            if not message["recovered"]:
                await self._fetch(http)
        elif "id" in message:
            self.cursor = message["id"]
            self.event_ids.add(message["id"])
            if message["type"] == "order_delete":
                self.orders.pop(message["key"], None)
            elif message["type"] == "new_order":
                self.orders[message["key"]] = (message["status"], Decimal(message["total"]))
            elif message["key"] in self.orders:
                status, total = self.orders[message["key"]]
                self.orders[message["key"]] = (message.get("status", status), Decimal(message.get("total", total)))

    async def _fetch(self, http: aiohttp.ClientSession) -> None:
        """All orders. The events that come meanwhile wait: those of before the page lead to the same state once more."""
        while True:
            with suppress(aiohttp.ClientError, OSError):
                orders: State = {}
                query = "?limit=1000"
                while True:
                    async with http.get(f"{self._http_url()}/api/orders{query}") as response:
                        response.raise_for_status()
                        page = await response.json()
                    orders |= {order["key"]: (order["status"], Decimal(order["total"])) for order in page["orders"]}
                    if page["next"] is None:
                        self.orders, self.event_ids = orders, set()
                        return
                    query = f"?limit=1000&after={quote(page['next'])}"
            await asyncio.sleep(0.1)

    @property
    def connected(self) -> bool:
        return self._ws is not None and bool(self.totals)

    async def reconnect(self) -> None:
        if self._ws is not None:
            await self._ws.close()


class Dashboards:
    """Several of them, and what the database says that they must have. A context manager, which connects them."""

    def __init__(self, count: int, http_url: Callable[[], str]) -> None:
        self.clients = [Dashboard(http_url) for _ in range(count)]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Dashboards:
        self._tasks = [asyncio.create_task(client.run(), name="dashboard") for client in self.clients]
        await self.wait_until(lambda client: client.connected, "all are connected")
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def wait_until(self, condition: Callable[[Dashboard], bool], what: str) -> None:
        """For every client."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while waiting := [client for client in self.clients if not condition(client)]:
                    for task in self._tasks:
                        assert not task.done(), task
                    await asyncio.sleep(0.05)
        except TimeoutError:
            client = waiting[0]
            raise AssertionError(
                f"{len(waiting)} clients: not {what}; {client.totals} {client.orders} {client.answers}"
            ) from None

    async def check(self, db: Any, since: str) -> None:
        """All have the state and the totals of the database, and exactly its events from the order of ``since`` on."""
        orders = {row[0]: (row[1], row[2]) for row in await db.fetch("select id::text, status, total from orders")}
        totals = dict(await db.fetchrow("select total_orders, total_revenue, pending_orders from orderwire.order_analytics"))
        journal = [
            (row["name"], json.loads(row["event"])["id"])
            for row in await db.fetch(
                "select j.customer_name as name, orderwire.event_json(j, i.epoch, i.integer_keys) as event "
                "from orderwire.journal as j, orderwire.journal_identity as i order by j.id"
            )
        ]
        known = {cursor for _, cursor in journal}
        start = [name for name, _ in journal].index(since)
        wanted = {cursor for _, cursor in journal[start:]}

        def is_right(client: Dashboard) -> bool:
            shown = {name: Decimal(str(client.totals[name])) for name in totals}
            return (
                client.orders == orders
                and shown == {name: Decimal(str(value)) for name, value in totals.items()}
                and wanted <= client.event_ids <= known
            )

        await self.wait_until(is_right, f"as in the database: {totals} {orders} {sorted(wanted)}")

    async def reconnect(self, clients: Iterable[Dashboard] | None = None) -> None:
        """Close the connections; each client comes back with its cursor."""
        await asyncio.gather(*(client.reconnect() for client in clients or self.clients))
