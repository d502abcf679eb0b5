"""How fast transactions come, and hence whether writers should ring for each: the decision alone, without I/O."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["NotifyMode", "Pace"]

# Transactions with events, a second. A transaction that notifies flushes its log alone: 20 ms on a slow disk, which lets 50
# a second through and would never show more. Above a human's rate, and a demonstration's.
FAST = 50
SLOW = 20
WINDOW_SECONDS = 1.0
# Part of the notification queue that is in use. Triggers stop ringing at 0.5 by themselves.
QUEUE_FILLING = 0.25
QUEUE_EMPTYING = 0.2


class NotifyMode(StrEnum):
    """The setting NOTIFY_MODE."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Pace:
    """Fast or slow, with hysteresis: at once when FAST are seen, slow after a whole window with less than SLOW.

    A filling notification queue is as good a reason not to ring, whatever the mode.
    """

    def __init__(self, mode: NotifyMode) -> None:
        self._mode = mode
        self._fast = False
        self._filling = False
        self._seen = 0
        self._window_since: float | None = None

    def saw(self, transactions: int) -> None:
        """So many more were read from the journal."""
        self._seen += transactions

    def forget(self) -> None:
        """What was seen lately does not count."""
        self._seen = 0

    def queue_usage(self, usage: float) -> bool:
        """Part of the notification queue that is in use, 0 to 1. True when from now on it is too much."""
        before = self._filling
        self._filling = usage >= (QUEUE_EMPTYING if before else QUEUE_FILLING)
        return self._filling and not before

    def fast(self, now: float) -> bool:
        """Whether it is better to read by the clock. ``now`` in seconds, of any clock that goes steadily."""
        if self._window_since is None:
            self._window_since = now
        elapsed = now - self._window_since
        if elapsed >= WINDOW_SECONDS:
            self._fast = self._seen / elapsed >= (SLOW if self._fast else FAST)
            self._seen, self._window_since = 0, now
        elif self._seen >= FAST * WINDOW_SECONDS:
            self._fast = True
        match self._mode:
            case NotifyMode.ALWAYS:
                return self._filling
            case NotifyMode.NEVER:
                return True
            case NotifyMode.AUTO:
                return self._fast or self._filling
