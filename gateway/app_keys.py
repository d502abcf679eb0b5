"""Typed keys of what the handlers find in the application, and the Protocol for queries on orders."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from aiohttp import web

from push.admission import SessionManager
from push.delivery.hub import Hub
from push.journal.relay import Relay
from push.journal.replay import ReplayPlanner
from push.metrics import Metrics
from push.protocol.access import OrderOwnership
from settings import Settings

__all__ = ["HUB", "METRICS", "ORDER_QUERIES", "RELAY", "REPLAY_PLANNER", "SESSION_MANAGER", "SETTINGS", "OrderQueries"]


class OrderQueries(OrderOwnership, Protocol):
    """Queries on the table `orders`, for the routes and for the topics of customers. Raises StoreError."""

    async def latest_orders(self, limit: int, status: str | None, before: int | None) -> list[str]:
        """Newest first, each as a JSON object. ``before``: only orders with a smaller id."""

    async def customer_orders(
        self, subject: str | None, ids: Collection[int], limit: int, status: str | None, before: int | None
    ) -> list[str]:
        """As ``latest_orders``, of the orders that have ``subject`` as customer_id or one of the ids."""


SETTINGS = web.AppKey("SETTINGS", Settings)
HUB = web.AppKey("HUB", Hub)
RELAY = web.AppKey("RELAY", Relay)
ORDER_QUERIES = web.AppKey("ORDER_QUERIES", OrderQueries)
REPLAY_PLANNER = web.AppKey("REPLAY_PLANNER", ReplayPlanner)
METRICS = web.AppKey("METRICS", Metrics)
SESSION_MANAGER = web.AppKey("SESSION_MANAGER", SessionManager)
