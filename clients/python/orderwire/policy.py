"""When the client comes back, and when it asks for a token: pure functions, the same rules as in the browser client."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = [
    "ABNORMAL_CLOSURE",
    "NO_PONG",
    "TOKEN_EXPIRED",
    "ReceivedEvents",
    "backoff_delay",
    "is_terminal",
    "token_refresh_delay",
]

# RFC 6455 section 7.4.1: no close frame was received.
ABNORMAL_CLOSURE = 1006
TOKEN_EXPIRED = 3005
NO_PONG = 3012

# A token is refreshed this long before it expires, or half-way if it lives for less than twice as long. In seconds.
TOKEN_REFRESH_LEAD = 60.0
MIN_TOKEN_REFRESH = 10.0
# More than the server replays for one resume, plus the live events that arrive during the replay.
MAX_IDS = 15_000


def is_terminal(code: int) -> bool:
    """Whether the server says "do not come back": close codes 3500 to 3999, and these statuses of the handshake."""
    return 3500 <= code <= 3999 or code in (400, 401, 403)


def backoff_delay(attempt: int, base: float, maximum: float, random: float) -> float:
    """Exponential back-off with full jitter, in seconds. ``attempt`` counts from 1; ``random`` is uniform in [0, 1)."""
    # 2 ** 63 is beyond any maximum; an exponent without a bound would be an OverflowError after a day.
    return random * min(maximum, base * 2.0 ** min(attempt - 1, 63))


def token_refresh_delay(left: float) -> float | None:
    """Seconds until a token has to be asked for, of which ``left`` seconds are left; None if it has expired."""
    return max(MIN_TOKEN_REFRESH, left - min(TOKEN_REFRESH_LEAD, left / 2)) if left > 0 else None


class ReceivedEvents:
    """The ids of received events, to drop duplicates, and the cursor to resume from."""

    def __init__(self, cursor: str | None) -> None:
        self.cursor = cursor
        # A dict keeps the order of insertion.
        self._ids: dict[str, None] = {} if cursor is None else {cursor: None}

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def add(self, event_id: str) -> bool:
        """Move the cursor. False for a duplicate."""
        self.cursor = event_id
        if event_id in self._ids:
            return False
        self._ids[event_id] = None
        if len(self._ids) > MAX_IDS:
            del self._ids[next(iter(self._ids))]
        return True
