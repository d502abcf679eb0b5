"""A client of Orderwire: it reconnects, resumes after the last event, drops duplicates, and reports gaps."""

from __future__ import annotations

from orderwire.client import Client, ClientClosed, ConnectionEnded, OutboxFull
from orderwire.cursor import CursorStore, FileCursor
from orderwire.messages import (
    Actor,
    CommandError,
    Connected,
    Disconnected,
    Event,
    FeedStatus,
    Gap,
    Message,
    OrderEvent,
    StreamEvent,
    Subscribed,
    Totals,
    is_newer,
)

__all__ = [
    "Actor",
    "Client",
    "ClientClosed",
    "CommandError",
    "Connected",
    "ConnectionEnded",
    "CursorStore",
    "Disconnected",
    "Event",
    "FeedStatus",
    "FileCursor",
    "Gap",
    "Message",
    "OrderEvent",
    "OutboxFull",
    "StreamEvent",
    "Subscribed",
    "Totals",
    "is_newer",
]
