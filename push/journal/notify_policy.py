"""Whether writers should notify for every transaction, or the journal be polled instead. The decision only, without I/O."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["NotifyMode", "NotifyPolicy"]

# Transactions with events per second. Commits that notify are serialized, and each flushes the log alone: at 20 ms per flush,
# on a slow disk, there cannot be more than 50 a second, so a higher threshold might never be reached. People who take orders
# by hand, and `server.py demo`, stay below it.
SUPPRESS_RATE = 50
RESUME_RATE = 20
WINDOW_SECONDS = 1.0
# Usage of the cluster's notification queue, 0 to 1. From 0.5 on the triggers stop notifying by themselves:
# sql/functions/02_notify.sql.
QUEUE_SUPPRESS_USAGE = 0.25
QUEUE_RESUME_USAGE = 0.2


class NotifyMode(StrEnum):
    """The setting NOTIFY_MODE: whether writers notify, decided by load, or fixed. ``NEVER``: the journal is always polled."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class NotifyPolicy:
    """Decides between notifications and polling, from what its relay has counted. With hysteresis, so that it does not flap.

    In the mode ``AUTO`` polling begins as soon as SUPPRESS_RATE transactions are counted within a window, and ends after a
    whole window below RESUME_RATE. A notification queue that fills up leads to polling in every mode.
    """

    def __init__(self, mode: NotifyMode) -> None:
        self._mode = mode
        self._high_rate = False
        self._queue_filling = False
        self._transactions = 0
        self._window_start: float | None = None

    def record_transactions(self, count: int) -> None:
        """Count transactions whose events have just been read from the journal."""
        self._transactions += count

    def reset_count(self) -> None:
        """Forget the transactions counted in this window: they gathered while the journal was not read."""
        self._transactions = 0

    def update_queue_usage(self, usage: float) -> bool:
        """Take the usage of the notification queue, 0 to 1. True if it has just become too high, which is worth a warning."""
        was_filling = self._queue_filling
        self._queue_filling = usage >= (QUEUE_RESUME_USAGE if was_filling else QUEUE_SUPPRESS_USAGE)
        return self._queue_filling and not was_filling

    def should_poll(self, now: float) -> bool:
        """Whether to poll from now on. Called before each read; ``now`` is in seconds of a monotonic clock."""
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
