"""What a session subscribes to, in the form that delivery asks about: single orders, all orders, totals."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from push.journal.events import Event
from push.protocol.access import ANALYTICS_TOPIC, ORDERS_TOPIC, Grant, order_ids

__all__ = ["Subscription"]

# Shared: an empty frozenset from a comprehension is an object of 216 bytes of its own.
_NO_ORDERS: frozenset[int] = frozenset()


class Subscription:
    """A set of topics. Immutable; sessions without single orders share one of four instances."""

    __slots__ = ("order_ids", "receives_all_events", "receives_everything", "receives_totals")

    def __init__(self, order_ids: frozenset[int], *, receives_all_events: bool, receives_totals: bool) -> None:
        self.order_ids = order_ids
        # Topic "orders": the events of every order.
        self.receives_all_events = receives_all_events
        # Topic "analytics".
        self.receives_totals = receives_totals
        # Both: the session receives exactly what is broadcast, and may join a cohort.
        self.receives_everything = receives_all_events and receives_totals

    @classmethod
    def of(cls, topics: frozenset[str]) -> Subscription:
        """The subscription to topics that ``push.protocol.access.parse_topics`` has checked."""
        receives_all_events, receives_totals = ORDERS_TOPIC in topics, ANALYTICS_TOPIC in topics
        if not (ids := order_ids(topics)):
            return _without_single_orders(receives_all_events, receives_totals)
        return cls(ids, receives_all_events=receives_all_events, receives_totals=receives_totals)

    @property
    def topics(self) -> frozenset[str]:
        """The topics' names. Made on demand, since the names of 100 orders take 14 KB and are rarely asked for."""
        return frozenset(
            (
                *((ORDERS_TOPIC,) if self.receives_all_events else ()),
                *((ANALYTICS_TOPIC,) if self.receives_totals else ()),
                *(f"order:{order_id}" for order_id in self.order_ids),
            )
        )

    def visible(self, events: Iterable[Event], grant: Grant, now: float) -> list[Event]:
        """The events that a holder of ``grant`` receives by this subscription; ``now`` in Unix seconds.

        Applied to live events for one session alone, and to replays; not to the broadcast log, nor to ``GET /api/events``.
        """
        if grant.expired(now):
            return []
        everything = self.receives_all_events
        return [event for event in events if (everything or event.order_id in self.order_ids) and grant.may_see(event)]


@cache
def _without_single_orders(receives_all_events: bool, receives_totals: bool) -> Subscription:
    return Subscription(_NO_ORDERS, receives_all_events=receives_all_events, receives_totals=receives_totals)
