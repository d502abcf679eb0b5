"""Prints events as lines for a terminal (`server.py watch`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from push.journal.events import Event
from push.journal.relay import Sink
from push.journal.totals import Totals

__all__ = ["ConsoleSink", "format_event"]


class ConsoleSink(Sink):
    """Prints one line per event, and one whenever the totals have changed, with ``print_line``."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        self._print_line = print_line
        self._totals: Totals | None = None

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

    async def wait_writable(self) -> None:
        """Return at once: ``print_line`` itself blocks while the terminal is slow."""


def format_event(payload: bytes) -> str:
    """Return an event's JSON as one printable line."""
    event = json.loads(payload)
    number = event["order_number"]
    match event["type"]:
        case "new_order":
            text = f"new      {number}  {event['customer_name']}  {event['total']}  {event['status']}"
        case "order_status_update":
            text = f"status   {number}  {event['previous_status']} → {event['status']}"
        case "order_delete":
            text = f"deleted  {number}"
        case _:
            changed = ", ".join(f"{name}: {event[name]}" for name in ("customer_name", "total") if name in event)
            text = f"changed  {number}  {changed or 'other columns'}"
    # A customer's name may contain anything, for instance control sequences of a terminal.
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:300])
