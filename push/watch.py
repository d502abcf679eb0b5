"""Events as readable lines, for a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from push.events import Event
from push.totals import Totals

__all__ = ["Watch", "readable"]


class Watch:
    """A sink of the relay that prints."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._totals: Totals | None = None

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        """One line an event."""
        for event in events:
            self._say(f"{event.at.astimezone():%H:%M:%S} {readable(event.frame)}")
        self.set_totals(totals)

    def set_totals(self, totals: Totals) -> None:
        """One line when they have changed."""
        if totals != self._totals:
            self._totals = totals
            self._say(f"         {totals.orders} orders, revenue {totals.revenue:f}, {totals.pending} pending")

    def gap(self) -> None:
        """One line."""
        self._say("         events were lost for good: the journal is another one, or was trimmed")

    async def room(self) -> None:
        """A terminal is as slow as it is."""


def readable(frame: bytes) -> str:
    """The event in words."""
    event = json.loads(frame)
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
