"""A carrier of a session that does what a test wants."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Carried"]


def _nothing() -> None:
    pass


class Carried:
    """See push.delivery.session.Carrier. Without ``flush_broadcast`` that is the same as ``notify_pending``."""

    def __init__(
        self, notify_pending: Callable[[], None] = _nothing, flush_broadcast: Callable[[], None] | None = None
    ) -> None:
        self.notify_pending = notify_pending
        self.flush_broadcast = flush_broadcast or notify_pending
