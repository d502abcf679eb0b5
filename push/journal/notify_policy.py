"""How fast transactions come, and hence whether writers should ring for each: the decision alone, without I/O."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["NotifyMode", "NotifyPolicy"]

# Transactions with events, a second. A transaction that notifies flushes its log alone: 20 ms on a slow disk, which lets 50
# a second through and would never show more. Above a human's rate, and a demonstration's.
SUPPRESS_RATE = 50
RESUME_RATE = 20
WINDOW_SECONDS = 1.0
# Part of the notification queue that is in use. Triggers stop ringing at 0.5 by themselves.
QUEUE_SUPPRESS_USAGE = 0.25
QUEUE_RESUME_USAGE = 0.2


class NotifyMode(StrEnum):
    """The setting NOTIFY_MODE."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class NotifyPolicy:
    """Fast or slow, with hysteresis: at once when FAST are seen, slow after a whole window with less than SLOW.

    A filling notification queue is as good a reason not to ring, whatever the mode.
    """

    def __init__(self, mode: NotifyMode) -> None:
        self._mode = mode
        self._high_rate = False
        self._queue_filling = False
        self._transactions = 0
        self._window_start: float | None = None

    def record_transactions(self, count: int) -> None:
        """So many more were read from the journal."""
        self._transactions += count

    def reset_count(self) -> None:
        """What was seen lately does not count."""
        self._transactions = 0

    def update_queue_usage(self, usage: float) -> bool:
        """Part of the notification queue that is in use, 0 to 1. True when from now on it is too much."""
        before = self._queue_filling
        self._queue_filling = usage >= (QUEUE_RESUME_USAGE if before else QUEUE_SUPPRESS_USAGE)
        return self._queue_filling and not before

    def should_poll(self, now: float) -> bool:
        """Whether it is better to read by the clock. ``now`` in seconds, of any clock that goes steadily."""
        if self._window_start is None:
            self._window_start = now
        elapsed = now - self._window_start
        if elapsed >= WINDOW_SECONDS:
            self._high_rate = self._transactions / elapsed >= (RESUME_RATE if self._high_rate else SUPPRESS_RATE)
            self._transactions, self._window_start = 0, now
        elif self._transactions >= SUPPRESS_RATE * WINDOW_SECONDS:
            self._high_rate = True
        match self._mode:
            case NotifyMode.ALWAYS:
                return self._queue_filling
            case NotifyMode.NEVER:
                return True
            case NotifyMode.AUTO:
                return self._high_rate or self._queue_filling
