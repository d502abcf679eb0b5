"""The token bucket: so much a second, and a burst of a few seconds' worth at once."""

from __future__ import annotations

__all__ = ["BURST_SECONDS", "Bucket"]

# A bucket that was left alone holds so many seconds' worth, and one at least: else there would never be enough for anything.
BURST_SECONDS = 2.0


class Bucket:
    """What one client may still do. ``now`` is any clock that does not go backwards, in seconds."""

    __slots__ = ("_at", "_level", "_most", "_per_second")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._level = self._most = max(1.0, per_second * BURST_SECONDS)
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Whether so much may be done now; if not, nothing is taken."""
        level = min(self._most, self._level + (now - self._at) * self._per_second)
        self._at = now
        if amount > level:
            self._level = level
            return False
        self._level = level - amount
        return True

    def drain(self, amount: float) -> None:
        """Take so much although it may not be there: nothing may be done until the debt, a burst at most, is paid off."""
        self._level = max(-self._most, self._level - amount)

    def idle(self, now: float) -> bool:
        """Whether it is full again, so that a new one would be no different."""
        return self._level + (now - self._at) * self._per_second >= self._most
