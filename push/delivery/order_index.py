"""Which sessions subscribe to single orders, and to which.

The hub hands each its events: into the send queue or, where the session also has topic ``orders`` and conflates, as events
that conflation must not leave out.
"""

from __future__ import annotations

from collections.abc import Iterable

from push.delivery.session import Session
from push.journal.events import Event

__all__ = ["OrderIndex"]


class OrderIndex:
    """Order ids to sessions (``Session.indexed_orders``), and back."""

    def __init__(self) -> None:
        self._sessions_by_order: dict[int, set[Session]] = {}
        self._orders_by_session: dict[Session, frozenset[int]] = {}

    def update(self, session: Session) -> None:
        """Add the session, or replace its entries after its subscription has changed."""
        self.remove(session)
        if order_ids := session.indexed_orders:
            self._orders_by_session[session] = order_ids
        for order_id in order_ids:
            self._sessions_by_order.setdefault(order_id, set()).add(session)

    def remove(self, session: Session) -> None:
        """Remove the session if it is in the index."""
        for order_id in self._orders_by_session.pop(session, ()):
            sessions = self._sessions_by_order[order_id]
            sessions.discard(session)
            if not sessions:
                del self._sessions_by_order[order_id]

    def sessions_for(self, events: Iterable[Event]) -> set[Session]:
        """The sessions that are indexed for an order of one of the events."""
        if not self._sessions_by_order:
            return set()
        sessions: set[Session] = set()
        for order_id in {event.order_id for event in events}:
            sessions |= self._sessions_by_order.get(order_id, set())
        return sessions
