"""Prints events as lines for a terminal (`server.py watch`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from push.journal.events import Event
from push.journal.relay import Sink
from push.journal.totals import Totals
from push.protocol.messages import FeedStatus

__all__ = ["ConsoleSink", "format_event"]


class ConsoleSink(Sink):
    """Prints one line per event, and one whenever the totals have changed, with ``print_line``."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        self._print_line = print_line
        self._totals: Totals | None = None

    @property
    def has_clients(self) -> bool:
        return True  # the terminal

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        for event in events:
            self._print_line(f"{event.at.astimezone():%H:%M:%S} {format_event(event.payload)}")
        self.set_totals(totals)

    def set_totals(self, totals: Totals) -> None:
        if totals != self._totals:
            self._totals = totals
            self._print_line(f"         {totals.orders} orders, revenue {totals.describe_revenue()}, {totals.pending} pending")

    def announce_gap(self) -> None:
        self._print_line("         events were lost for good: the journal is another one, or was trimmed")

    async def announce_feed_status(self, status: FeedStatus) -> None:
        """Print whether events flow."""
        if status.live:
            self._print_line("         events flow again")
        else:
            since = datetime.fromtimestamp(status.since).astimezone()
            self._print_line(f"         events do not flow since {since:%H:%M:%S}: {status.reason}")

    async def wait_writable(self) -> None:
        """Return at once: ``print_line`` itself blocks while the terminal is slow."""


def format_event(payload: bytes) -> str:
    """Return an event's JSON as one printable line. A field that is null in the table is shown as a hyphen."""
    event = json.loads(payload)
    name = _text(event.get("order_number") or event["key"])
    match event["type"]:
        case "new_order":
            parts = ["new    ", name, *(_text(event.get(field)) for field in ("customer_name", "total", "status"))]
            if "currency" in event:
                parts[3] += f" {_text(event['currency'])}"
        case "order_status_update":
            parts = ["status ", name, f"{_text(event.get('previous_status'))} → {_text(event.get('status'))}"]
        case "order_delete":
            parts = ["deleted", name]
        case "row_insert" | "row_update" | "row_delete" as kind:
            verb = {"row_insert": "new", "row_update": "changed", "row_delete": "deleted"}[kind]
            parts = [f"{verb:<7}", f"{event['stream']} {name}", *_changes(event)]
        case _:
            parts = ["changed", name, *(_changes(event) or ["other columns"])]
    # Names may contain anything, for instance control sequences of a terminal.
    text = "  ".join(parts)[:300]
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _changes(event: dict[str, Any]) -> list[str]:
    """What has changed in the row, as one text; empty if the event does not say."""
    # The total and the currency are in every update of an order.
    fields = {name: event[name] for name in ("customer_name",) if name in event}
    fields |= {name: event.get(name) for name in ("total", "currency") if f"previous_{name}" in event}
    fields |= event.get("data") or {}
    return [", ".join(f"{name}: {_text(value)}" for name, value in fields.items())] if fields else []


def _text(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
