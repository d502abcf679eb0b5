"""How often the totals are announced: at once, and then at most every TOTALS_INTERVAL, the newest last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["TOTALS_INTERVAL", "TotalsThrottle"]

# Seconds between two ``analytics_update`` messages.
TOTALS_INTERVAL = 0.1


class TotalsThrottle:
    """Calls ``announce`` for changes of the totals; changes within the interval after a call are merged into the next call."""

    def __init__(self, announce: Callable[[], None]) -> None:
        self._announce = announce
        self._timer: asyncio.TimerHandle | None = None
        self._pending = False

    def changed(self) -> None:
        """Announce the totals now, or when the interval since the last announcement is over."""
        if self._timer is None:
            self._announce_now()
        else:
            self._pending = True

    def stop(self) -> bool:
        """Cancel the timer. Returns whether the last change has not been announced."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._pending

    def _announce_now(self) -> None:
        self._pending = False
        self._announce()
        self._timer = asyncio.get_running_loop().call_later(TOTALS_INTERVAL, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._pending:
            self._announce_now()
