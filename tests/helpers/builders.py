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
    order_key: str | None = "1",
    customer_id: str | None = None,
    stream: str | None = None,
    key: str | None = None,
    previous_revenue: str = "0",
    previous_currency: str | None = None,
    currency: str | None = None,
) -> Event:
    """An event of 2026-01-01. ``orders`` and ``pending`` are what it adds to the totals. A stream's event needs a ``key``."""
    if key is None:
        assert order_key is not None
        key = order_key
    return Event(
        txid=txid,
        id=id_,
        stream=stream,
        key=key,
        order_key=order_key,
        customer_id=customer_id,
        writer_snapshot=Snapshot(1, 1),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        orders_delta=orders,
        pending_delta=pending,
        previous_revenue=Decimal(previous_revenue),
        revenue=Decimal(revenue),
        previous_currency=previous_currency,
        currency=currency,
        payload=payload,
    )


def messages_of(batches: Sequence[Batch]) -> list[bytes]:
    """The messages of all batches, in order."""
    return [message for batch in batches for message in batch.messages]
