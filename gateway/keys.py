"""What the handlers find in the application, typed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from aiohttp import web

from push.entrance import Entrance
from push.history import History
from push.hub import Hub
from push.metrics import Metrics
from push.relay import Relay
from settings import Settings

__all__ = ["ENTRANCE", "HISTORY", "HUB", "METRICS", "ORDERS", "RELAY", "SETTINGS", "Orders"]


class Orders(Protocol):
    """The table of orders, for the routes. Raises StoreError."""

    async def latest_orders(self, limit: int, status: str | None, before: int | None) -> list[str]:
        """Newest orders first, each as a JSON object."""

    async def orders_of(
        self, subject: str | None, ids: Collection[int], limit: int, status: str | None, before: int | None
    ) -> list[str]:
        """The same of those alone that have ``subject`` as customer_id, or one of the ids."""

    async def owned(self, subject: str, ids: Collection[int]) -> set[int]:
        """See push.access.Owners."""


SETTINGS = web.AppKey("SETTINGS", Settings)
HUB = web.AppKey("HUB", Hub)
RELAY = web.AppKey("RELAY", Relay)
ORDERS = web.AppKey("ORDERS", Orders)
HISTORY = web.AppKey("HISTORY", History)
METRICS = web.AppKey("METRICS", Metrics)
ENTRANCE = web.AppKey("ENTRANCE", Entrance)
