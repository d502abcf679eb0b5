"""Which sessions subscribe to single orders, to a customer's orders and to streams, and to which.

The hub hands each its events: into the send queue or, where the session also has topic ``orders`` and conflates, as events
that conflation must not leave out.
"""

from __future__ import annotations

from collections.abc import Iterable

from push.delivery.session import Session
from push.journal.events import Event
from push.protocol.access import CustomerId, RowSelector

__all__ = ["OrderIndex"]


class OrderIndex:
    """What subscriptions select (``Subscription.selected``) to sessions, and back."""

    def __init__(self) -> None:
        self._sessions_by_selector: dict[RowSelector | CustomerId, set[Session]] = {}
        self._selectors_by_session: dict[Session, frozenset[RowSelector | CustomerId]] = {}

    def update(self, session: Session) -> None:
        """Add the session, or replace its entries after its subscription has changed."""
        self.remove(session)
        if selected := session.subscription.selected:
            self._selectors_by_session[session] = selected
        for selector in selected:
            self._sessions_by_selector.setdefault(selector, set()).add(session)

    def remove(self, session: Session) -> None:
        """Remove the session if it is in the index."""
        for selector in self._selectors_by_session.pop(session, ()):
            sessions = self._sessions_by_selector[selector]
            sessions.discard(session)
            if not sessions:
                del self._sessions_by_selector[selector]

    def sessions_for(self, events: Iterable[Event]) -> set[Session]:
        """The sessions that select the order, its customer, the former one or the row of one of the events.

        Takes some look-ups for each event, however many sessions there are.
        """
        if not self._sessions_by_selector:
            return set()
        selectors: set[RowSelector | CustomerId] = set()
        for event in events:
            for customer_id in (event.customer_id, event.previous_customer_id):
                if customer_id is not None:
                    selectors.add(CustomerId(customer_id))
            if event.order_key is not None:
                selectors.add(event.order_key)
            if event.stream is not None:
                selectors.update(((event.stream, None), (event.stream, event.key)))
        sessions: set[Session] = set()
        for selector in selectors:
            sessions |= self._sessions_by_selector.get(selector, set())
        return sessions
