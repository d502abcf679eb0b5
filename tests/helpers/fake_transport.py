"""Session transports without a connection."""

from __future__ import annotations

from collections.abc import Callable

from push.delivery.batch import Batch
from push.delivery.rate_limit import RateLimits
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.protocol.access import ANONYMOUS_GRANT
from push.protocol.messages import CloseCode
from tests.helpers.builders import messages_of

__all__ = ["FakeTransport", "RecordedSession"]


def _nothing() -> None:
    pass


class FakeTransport:
    """A ``SessionTransport`` that calls the given functions: for both calls the first one unless there is a second."""

    def __init__(
        self, schedule_flush: Callable[[], None] = _nothing, flush_broadcast: Callable[[], None] | None = None
    ) -> None:
        self.schedule_flush = schedule_flush
        self._flush_broadcast = flush_broadcast or schedule_flush

    def flush_broadcast(self) -> int:
        self._flush_broadcast()
        return 0


class RecordedSession:
    """An admitted session outside of any hub: counts the calls to its transport, and returns what that would have sent."""

    def __init__(self, max_messages: int = 10, max_bytes: int = 1000, rate_limits: RateLimits | None = None) -> None:
        self.totals = b"totals 0"
        self.notifications = 0
        self.session = Session(SendQueue(max_messages, max_bytes), FakeTransport(self._count), rate_limits)
        self.session.apply_grant(ANONYMOUS_GRANT, ANONYMOUS_GRANT.default_topics())
        self.session.send_initial_message(lambda: Batch([self.totals]))
        assert self.sent() == [b"totals 0"]

    def _count(self) -> None:
        self.notifications += 1

    def sent(self, about_bytes: int = 10**6) -> list[bytes]:
        """All messages that wait, taken ``about_bytes`` at a time."""
        messages = []
        while batches := self.session.take(about_bytes):
            messages += messages_of(batches)
        return messages

    def closed_with(self) -> CloseCode | None:
        """``session.close_code``, by a call, since a type checker narrows an attribute between two asserts."""
        return self.session.close_code
