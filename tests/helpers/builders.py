"""Values that many tests need."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from push.delivery.batch import Batch
from push.journal.events import Event, Snapshot

__all__ = ["make_event", "messages_of"]


def make_event(
    txid: int = 1,
    id_: int = 1,
    orders: int = 0,
    revenue: str = "0",
    pending: int = 0,
    payload: bytes = b"{}",
    order_id: int = 1,
    customer_id: str | None = None,
) -> Event:
    """An event of 2026-01-01; ``orders``, ``revenue`` and ``pending`` are what it adds to the totals."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Event(txid, id_, order_id, customer_id, Snapshot(1, 1), at, orders, Decimal(revenue), pending, payload)


def messages_of(batches: Sequence[Batch]) -> list[bytes]:
    """The messages of all batches, in order."""
    return [message for batch in batches for message in batch.messages]
