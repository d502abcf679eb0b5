"""What a session subscribes to, in the form that delivery asks about: all orders, totals, single orders and streams."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from push.journal.events import Event
from push.protocol.access import ANALYTICS_TOPIC, ORDERS_TOPIC, CustomerId, Grant, Role, RowSelector, selector_of, topic_of

__all__ = ["Subscription"]

# Shared: an empty frozenset from a comprehension is an object of 216 bytes of its own.
_NO_ROWS: frozenset[RowSelector] = frozenset()


class Subscription:
    """A set of topics. Immutable; sessions without single orders and streams share one of four instances."""

    __slots__ = ("_named", "receives_all_orders", "receives_everything", "receives_own_orders", "receives_totals", "selected")

    def __init__(
        self,
        named: frozenset[RowSelector],
        *,
        receives_all_orders: bool,
        receives_totals: bool,
        own_orders: frozenset[RowSelector | CustomerId] | None = None,
    ) -> None:
        """``named``: what the other topics than those of all orders and of the totals select. ``own_orders``: what topic
        ``orders`` selects for a customer; None without that topic, and for other roles.
        """
        self._named = named
        # What the index of the hub finds the session by: single orders, streams and single rows of streams, a customer. With
        # decoded keys: nothing is encoded for an event.
        self.selected: frozenset[RowSelector | CustomerId] = named
        if own_orders is not None:
            self.selected = own_orders | named if named else own_orders
        # Topic "orders" of a customer: every event that the grant lets through.
        self.receives_own_orders = own_orders is not None
        # Topic "orders" of an admin: the events of every order. The broadcast log has these, and no events of streams.
        self.receives_all_orders = receives_all_orders
        # Topic "analytics".
        self.receives_totals = receives_totals
        # Both: the session receives exactly what is broadcast, and may join a cohort. What it selects comes in addition.
        self.receives_everything = receives_all_orders and receives_totals

    @classmethod
    def of(cls, topics: frozenset[str], grant: Grant | None) -> Subscription:
        """The subscription to topics that ``push.protocol.access.parse_topics`` has checked. ``grant``: None before the login.

        Only an admin reads the broadcast log, since nothing is checked there for each event.
        """
        receives_orders, receives_totals = ORDERS_TOPIC in topics, ANALYTICS_TOPIC in topics
        is_customer = grant is not None and grant.role is Role.CUSTOMER
        has_rows = len(topics) != receives_orders + receives_totals
        if not has_rows and not (receives_orders and is_customer):
            return _without_rows(receives_orders, receives_totals)
        selectors = (selector_of(topic) for topic in topics) if has_rows else ()
        named = frozenset(selector for selector in selectors if selector is not None) or _NO_ROWS
        if grant is not None and is_customer:
            own_orders = grant.own_orders if receives_orders else None
            return cls(named, receives_all_orders=False, receives_totals=receives_totals, own_orders=own_orders)
        return cls(named, receives_all_orders=receives_orders, receives_totals=receives_totals)

    @property
    def topics(self) -> frozenset[str]:
        """The topics' names. Made on demand, since the names of 100 orders take 14 KB and are rarely asked for."""
        return frozenset(
            (
                *((ORDERS_TOPIC,) if self.receives_all_orders or self.receives_own_orders else ()),
                *((ANALYTICS_TOPIC,) if self.receives_totals else ()),
                *map(topic_of, self._named),
            )
        )

    def includes(self, event: Event) -> bool:
        """Whether the event is of one of the topics. A customer's topic ``orders`` has every event that the grant lets through,
        which ``visible`` asks.
        """
        if self.receives_own_orders:
            return True
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
        return [seen for event in events if self.includes(event) and (seen := grant.view(event)) is not None]


@cache
def _without_rows(receives_all_orders: bool, receives_totals: bool) -> Subscription:
    return Subscription(_NO_ROWS, receives_all_orders=receives_all_orders, receives_totals=receives_totals)
