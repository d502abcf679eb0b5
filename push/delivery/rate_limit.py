"""Token buckets: a sustained rate, and a burst of a few seconds' worth at once."""

from __future__ import annotations

import math

__all__ = ["BURST_SECONDS", "INITIALLY_FULL", "RateLimits", "TokenBucket", "TokenBucketRate"]

# Capacity of a bucket in seconds of its rate. At slow rates the capacity is one token, since less would never admit anything.
BURST_SECONDS = 2.0
# Rounding error of the clock arithmetic, in seconds: without it a full bucket might not give out its whole capacity.
CLOCK_TOLERANCE = 1e-9
# ``full_at`` of a bucket from which nothing has been taken yet.
INITIALLY_FULL = -math.inf


class TokenBucketRate:
    """The rate and capacity of a bucket, without its state: that is one number, ``full_at``, the time when the bucket will be
    full again if nothing is taken. One object serves any number of buckets.

    ``now`` is any monotonic clock, in seconds.
    """

    __slots__ = ("_burst_seconds", "_per_second")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._burst_seconds = max(1.0 / per_second, BURST_SECONDS)

    def take(self, full_at: float, amount: float, now: float) -> float | None:
        """Take ``amount`` tokens. Returns the new ``full_at``; None if the bucket holds fewer."""
        after = max(full_at, now) + amount / self._per_second
        return after if after - now <= self._burst_seconds + CLOCK_TOLERANCE else None

    def take_with_debt(self, full_at: float, amount: float, now: float) -> float:
        """Take ``amount`` tokens even if the bucket holds fewer. Returns the new ``full_at``; the debt is at most one burst."""
        return min(max(full_at, now) + amount / self._per_second, now + 2 * self._burst_seconds)


class TokenBucket:
    """One bucket."""

    __slots__ = ("_full_at", "_rate")

    def __init__(self, rate: TokenBucketRate) -> None:
        self._rate = rate
        self._full_at = INITIALLY_FULL

    def take(self, amount: float, now: float) -> bool:
        """Take ``amount`` tokens. False, and nothing taken, if the bucket holds fewer."""
        after = self._rate.take(self._full_at, amount, now)
        if after is None:
            return False
        self._full_at = after
        return True

    def take_with_debt(self, amount: float, now: float) -> None:
        """Take ``amount`` tokens even if the bucket holds fewer: ``take`` fails until that debt (at most a burst) is repaid."""
        self._full_at = self._rate.take_with_debt(self._full_at, amount, now)

    def is_full(self, now: float) -> bool:
        """Whether the bucket is in the same state as a new one."""
        return self._full_at <= now


class RateLimits:
    """How many frames and bytes one client may send per second. One object for all sessions with the same limits."""

    __slots__ = ("_bytes", "_frames")

    def __init__(self, frames_per_second: float = 1e12, bytes_per_second: float = 1e12) -> None:
        self._frames = TokenBucketRate(frames_per_second)
        self._bytes = TokenBucketRate(bytes_per_second)

    def charge(
        self, frames_full_at: float, bytes_full_at: float, frames: int, size: int, now: float
    ) -> tuple[float, float] | None:
        """Take from both buckets of a session. Returns their new ``full_at``; None if either holds too little."""
        frames_after = self._frames.take(frames_full_at, frames, now)
        bytes_after = self._bytes.take(bytes_full_at, size, now)
        return None if frames_after is None or bytes_after is None else (frames_after, bytes_after)
