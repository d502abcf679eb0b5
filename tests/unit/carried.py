"""A carrier of a session that does what a test wants."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Carried"]


def _nothing() -> None:
    pass


class Carried:
    """See push.session.Carrier. Without ``in_round`` that is the same as ``output``."""

    def __init__(self, output: Callable[[], None] = _nothing, in_round: Callable[[], None] | None = None) -> None:
        self.output = output
        self.round = in_round or output
