"""What a session subscribes to, in the form that delivery asks about: all orders, totals, single orders and streams."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from push.journal.events import Event
from push.protocol.access import ANALYTICS_TOPIC, ORDERS_TOPIC, Grant, RowSelector, selector_of, topic_of

__all__ = ["Subscription"]

# Shared: an empty frozenset from a comprehension is an object of 216 bytes of its own.
_NO_ROWS: frozenset[RowSelector] = frozenset()


class Subscription:
    """A set of topics. Immutable; sessions without single orders and streams share one of four instances."""

    __slots__ = ("receives_all_orders", "receives_everything", "receives_totals", "selected")

    def __init__(self, selected: frozenset[RowSelector], *, receives_all_orders: bool, receives_totals: bool) -> None:
        # Single orders, streams and single rows of streams. With decoded keys: nothing is encoded for an event.
        self.selected = selected
        # Topic "orders": the events of every order. The broadcast log has these, and no events of streams.
        self.receives_all_orders = receives_all_orders
        # Topic "analytics".
        self.receives_totals = receives_totals
        # Both: the session receives exactly what is broadcast, and may join a cohort. What it selects comes in addition.
        self.receives_everything = receives_all_orders and receives_totals

    @classmethod
    def of(cls, topics: frozenset[str], order_keys: frozenset[str] = frozenset()) -> Subscription:
        """The subscription to topics that ``push.protocol.access.parse_topics`` has checked.

        ``order_keys``: those of the client's grant. If they are what is selected, the grant's set is kept, not a second one.
        """
        receives_all_orders, receives_totals = ORDERS_TOPIC in topics, ANALYTICS_TOPIC in topics
        if len(topics) == receives_all_orders + receives_totals:
            return _without_rows(receives_all_orders, receives_totals)
        selected = frozenset(selector for topic in topics if (selector := selector_of(topic)) is not None)
        if selected == order_keys:
            selected = order_keys
        return cls(selected, receives_all_orders=receives_all_orders, receives_totals=receives_totals)

    @property
    def topics(self) -> frozenset[str]:
        """The topics' names. Made on demand, since the names of 100 orders take 14 KB and are rarely asked for."""
        return frozenset(
            (
                *((ORDERS_TOPIC,) if self.receives_all_orders else ()),
                *((ANALYTICS_TOPIC,) if self.receives_totals else ()),
                *map(topic_of, self.selected),
            )
        )

    def includes(self, event: Event) -> bool:
        """Whether the event is of one of the topics."""
        selected = self.selected
        if event.order_key in selected:
            return True
        if event.stream is None:
            return self.receives_all_orders
        return (event.stream, None) in selected or (event.stream, event.key) in selected

    def visible(self, events: Iterable[Event], grant: Grant, now: float) -> list[Event]:
        """The events that a holder of ``grant`` receives by this subscription; ``now`` in Unix seconds.

        Applied to live events for one session alone, and to replays; not to the broadcast log, nor to ``GET /api/events``.
        """
        if grant.expired(now):
            return []
        return [event for event in events if self.includes(event) and grant.may_see(event)]


@cache
def _without_rows(receives_all_orders: bool, receives_totals: bool) -> Subscription:
    return Subscription(_NO_ROWS, receives_all_orders=receives_all_orders, receives_totals=receives_totals)
