"""Events as readable lines, for a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from push.journal.events import Event
from push.journal.totals import Totals

__all__ = ["ConsoleSink", "format_event"]


class ConsoleSink:
    """A sink of the relay that prints."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        self._print_line = print_line
        self._totals: Totals | None = None

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        """One line an event."""
        for event in events:
            self._print_line(f"{event.at.astimezone():%H:%M:%S} {format_event(event.payload)}")
        self.set_totals(totals)

    def set_totals(self, totals: Totals) -> None:
        """One line when they have changed."""
        if totals != self._totals:
            self._totals = totals
            self._print_line(f"         {totals.orders} orders, revenue {totals.revenue:f}, {totals.pending} pending")

    def announce_gap(self) -> None:
        """One line."""
        self._print_line("         events were lost for good: the journal is another one, or was trimmed")

    async def wait_writable(self) -> None:
        """A terminal is as slow as it is."""


def format_event(payload: bytes) -> str:
    """The event in words."""
    event = json.loads(payload)
    number = event["order_number"]
    match event["type"]:
        case "new_order":
            what = f"new      {number}  {event['customer_name']}  {event['total']}  {event['status']}"
        case "order_status_update":
            what = f"status   {number}  {event['previous_status']} → {event['status']}"
        case "order_delete":
            what = f"deleted  {number}"
        case _:
            changed = ", ".join(f"{name}: {event[name]}" for name in ("customer_name", "total") if name in event)
            what = f"changed  {number}  {changed or 'other columns'}"
    # A name may hold anything, a terminal's control sequences too.
    return "".join(letter if letter.isprintable() else "�" for letter in what[:300])
