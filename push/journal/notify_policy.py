"""Whether writers should notify for every transaction, or the journal be polled instead. The decision only, without I/O."""

from __future__ import annotations

import math
from enum import StrEnum

__all__ = ["NotifyMode", "NotifyPolicy"]

# How many writers wait for another one's notifying commit, in the mean over a window. By Little's law that divided by the
# commits a second is how long a commit waits: at 340 a second 1.5 ms. On a slow disk 0.5 is reached at fewer commits.
SUPPRESS_WAITERS = 0.5
# Transactions with events per second from which on polling begins also without a writer that waits: the server then reads as
# often anyway, and each notification wakes every session that listens.
SUPPRESS_RATE = 1000
# Polling ends after a window with less than this share of the rate at which it began: while writers do not notify none waits.
RESUME_RATIO = 0.5
WINDOW_SECONDS = 1.0
# Between two samples of the waiting writers. A sample stands for the time since the one before, as far as that is not much
# longer: without commits no samples are taken.
SAMPLE_INTERVAL_SECONDS = 0.02
MAX_SAMPLE_SECONDS = 0.05
# The rate at which polling begins is not taken from less than this: a few commits at once are no rate.
MIN_RATE_SECONDS = 0.25
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
    """Decides between notifications and polling, from what its relay has seen. With hysteresis, so that it does not flap.

    In the mode ``AUTO`` polling begins as soon as SUPPRESS_WAITERS or SUPPRESS_RATE are reached in the mean over a window, also
    before its end where they will be for certain. It ends after a window below RESUME_RATIO of the rate at which it began.
    A notification queue that fills up leads to polling in every mode.

    All times are in seconds of one monotonic clock.
    """

    def __init__(self, mode: NotifyMode) -> None:
        self._mode = mode
        self._is_suppressed = False
        self._resume_rate = 0.0
        self._queue_filling = False
        # Of the current window. The seconds are summed over the writers that waited.
        self._transactions = 0
        self._waiting_seconds = 0.0
        self._window_start: float | None = None
        self._has_unsampled_commits = False
        self._sampled_at = -math.inf

    def record_transactions(self, count: int) -> None:
        """Count transactions whose events have just been read from the journal."""
        self._transactions += count
        self._has_unsampled_commits |= count > 0

    def is_sample_due(self, now: float) -> bool:
        """Whether ``record_waiters`` should be called: there were commits, and the last sample is old enough."""
        return (
            self._mode is NotifyMode.AUTO
            and not self._is_suppressed
            and self._has_unsampled_commits
            and now - self._sampled_at >= SAMPLE_INTERVAL_SECONDS
        )

    def record_waiters(self, count: int, now: float) -> None:
        """Take the number of writers that wait at the moment for another one's notifying commit."""
        self._waiting_seconds += count * min(now - self._sampled_at, MAX_SAMPLE_SECONDS)
        self._sampled_at = now
        self._has_unsampled_commits = False

    def reset_count(self) -> None:
        """Forget the transactions counted in this window: they gathered while the journal was not read."""
        self._transactions = 0
        self._has_unsampled_commits = False

    def update_queue_usage(self, usage: float) -> bool:
        """Take the usage of the notification queue, 0 to 1. True if it has just become too high, which is worth a warning."""
        was_filling = self._queue_filling
        self._queue_filling = usage >= (QUEUE_RESUME_USAGE if was_filling else QUEUE_SUPPRESS_USAGE)
        return self._queue_filling and not was_filling

    def should_poll(self, now: float) -> bool:
        """Whether to poll from now on. Called before each read."""
        if self._window_start is None:
            self._window_start = now
        elapsed = now - self._window_start
        # The means over a window are at least these, even if nothing follows until its end.
        seconds = max(elapsed, WINDOW_SECONDS)
        if not self._is_suppressed:
            self._is_suppressed = (
                self._waiting_seconds / seconds >= SUPPRESS_WAITERS or self._transactions / seconds >= SUPPRESS_RATE
            )
            if self._is_suppressed:
                self._resume_rate = RESUME_RATIO * self._transactions / max(elapsed, MIN_RATE_SECONDS)
                self._start_window(now)
        elif elapsed >= WINDOW_SECONDS and self._transactions / elapsed < self._resume_rate:
            self._is_suppressed = False
        if elapsed >= WINDOW_SECONDS:
            self._start_window(now)
        match self._mode:
            case NotifyMode.ALWAYS:
                return self._queue_filling
            case NotifyMode.NEVER:
                return True
            case NotifyMode.AUTO:
                return self._is_suppressed or self._queue_filling

    def _start_window(self, now: float) -> None:
        self._window_start, self._transactions, self._waiting_seconds = now, 0, 0.0
