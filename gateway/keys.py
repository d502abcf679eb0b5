"""What the handlers find in the application, typed."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from push.history import History
from push.hub import Hub
from push.relay import Relay
from push.resume import Entrance
from settings import Settings

__all__ = ["ENTRANCE", "HISTORY", "HUB", "ORDERS", "RELAY", "SETTINGS", "Orders"]


class Orders(Protocol):
    """The table of orders, for the routes. Raises StoreError."""

    async def latest_orders(self, limit: int, status: str | None, before: int | None) -> list[str]:
        """Newest orders first, each as a JSON object."""


SETTINGS = web.AppKey("SETTINGS", Settings)
HUB = web.AppKey("HUB", Hub)
RELAY = web.AppKey("RELAY", Relay)
ORDERS = web.AppKey("ORDERS", Orders)
HISTORY = web.AppKey("HISTORY", History)
ENTRANCE = web.AppKey("ENTRANCE", Entrance)
