"""Typed keys of what the handlers find in the application, and the Protocols for queries and changes of orders."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from push.admission import SessionManager
from push.delivery.hub import Hub
from push.journal.relay import Relay
from push.journal.replay import ReplayPlanner
from push.journal.series_counter import SeriesCounter
from push.metrics import Metrics
from push.protocol.access import TopicLookup
from push.protocol.order_changes import ChangeResult, CreatedOrder, StatusChange
from push.protocol.order_csv import OrderExport
from push.protocol.order_list import OrderFilter, OrderOwner, OrderPage, OrderPageRequest, ShopInfo
from push.protocol.series import SeriesEncoder
from settings import Settings

__all__ = [
    "HUB",
    "LIFECYCLE",
    "METRICS",
    "ORDER_QUERIES",
    "ORDER_WRITER",
    "PLAYGROUND",
    "RELAY",
    "REPLAY_PLANNER",
    "SERIES_COUNTER",
    "SERIES_ENCODER",
    "SESSION_MANAGER",
    "SETTINGS",
    "VERSION",
    "Lifecycle",
    "OrderChanges",
    "OrderQueries",
]


@dataclass(slots=True)
class Lifecycle:
    """What a handler has to know of the process beyond the relay."""

    # It has been asked to end: /readyz says so. All else goes on until the drain.
    is_ending: bool = False


class OrderQueries(TopicLookup, Protocol):
    """Queries on the attached tables, for the routes and for topics. Raises StoreError."""

    async def list_orders(self, wanted: OrderPageRequest, client: Hashable = None) -> OrderPage:
        """A page of orders, newest first. ``client``: who asks for it. Raises TooManySearches too."""

    def export_orders(
        self, wanted: OrderFilter, owner: OrderOwner | None, client: Hashable = None
    ) -> AbstractAsyncContextManager[OrderExport]:
        """All orders that are asked for, to be read within the block. ``client``: who asks. Raises TooManyExports too."""

    async def search_indexed(self) -> bool:
        """Whether indexes of the attached table answer every search that is not too short for them."""

    async def find_order(self, key: str, owner: OrderOwner | None = None) -> str | None:
        """One order as a JSON object; None if there is none with this key, or it is not the owner's."""

    async def order_history(self, key: str, limit: int, owner: OrderOwner | None = None) -> list[str]:
        """The events of one order that the owner may see, newest first, as JSON."""

    async def shop_info(self) -> ShopInfo:
        """Statuses and attached tables."""


class OrderChanges(Protocol):
    """Changes of the attached table of orders. Raises StoreError: then it is not known whether the change was made."""

    async def change_status(self, change: StatusChange) -> ChangeResult:
        """Change the status of one order, if that is possible."""

    async def create_test_order(self) -> CreatedOrder | None:
        """Insert an order; None if the starter table is not attached."""


SETTINGS = web.AppKey("SETTINGS", Settings)
VERSION = web.AppKey("VERSION", str)
HUB = web.AppKey("HUB", Hub)
RELAY = web.AppKey("RELAY", Relay)
ORDER_QUERIES = web.AppKey("ORDER_QUERIES", OrderQueries)
ORDER_WRITER = web.AppKey("ORDER_WRITER", OrderChanges)
# Whether the database is the embedded one, in which the server may make test orders.
PLAYGROUND = web.AppKey("PLAYGROUND", bool)
REPLAY_PLANNER = web.AppKey("REPLAY_PLANNER", ReplayPlanner)
SERIES_COUNTER = web.AppKey("SERIES_COUNTER", SeriesCounter)
SERIES_ENCODER = web.AppKey("SERIES_ENCODER", SeriesEncoder)
METRICS = web.AppKey("METRICS", Metrics)
LIFECYCLE = web.AppKey("LIFECYCLE", Lifecycle)
SESSION_MANAGER = web.AppKey("SESSION_MANAGER", SessionManager)
