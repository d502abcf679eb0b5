"""The bounded outbound buffer of one session, for what only its client receives (broadcasts are in the broadcast log)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from push.delivery.batch import Batch

__all__ = ["SendQueue"]


class SendQueue:
    """Batches that wait for a session's transport.

    The bounds apply to what is left over when more arrives, not to the sum of both, so one large batch does not make a slow
    consumer of a client that keeps up. The relay bounds the size of a batch by its pages.
    """

    __slots__ = ("_batches", "_byte_count", "_max_bytes", "_max_messages", "_message_count")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        # Empty most of the time, so the shared empty tuple: an empty list is 56 bytes per session, a deque ten times that.
        self._batches: Sequence[Batch] = ()
        self._message_count = 0
        self._byte_count = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes

    def offer(self, *batches: Batch) -> bool:
        """Append all batches. False, and nothing appended, if the queue exceeds its bounds."""
        if self.is_full:
            return False
        self.extend(batches)
        return True

    def extend(self, batches: Iterable[Batch]) -> None:
        """Append the batches without regard to the bounds."""
        added = list(batches)
        self._batches = [*self._batches, *added] if self._batches else added
        for batch in added:
            self._message_count += batch.count
            self._byte_count += batch.size

    def take(self, about_bytes: int) -> list[Batch]:
        """Remove and return the oldest batches, up to about ``about_bytes``; at least one unless the queue is empty."""
        if self._byte_count <= about_bytes:
            taken, self._batches = list(self._batches), ()
            self._message_count = self._byte_count = 0
            return taken
        remaining = about_bytes
        taken_count = 0
        for batch in self._batches:
            if remaining <= 0:
                break
            taken_count += 1
            remaining -= batch.size
            self._message_count -= batch.count
        taken, self._batches = list(self._batches[:taken_count]), self._batches[taken_count:]
        self._byte_count -= about_bytes - remaining
        return taken

    def clear(self) -> None:
        """Drop all batches."""
        self._batches = ()
        self._message_count = self._byte_count = 0

    @property
    def is_full(self) -> bool:
        """Whether what is waiting exceeds the bounds, so that ``offer`` fails."""
        return self._message_count > self._max_messages or self._byte_count > self._max_bytes

    def exceeds_max_messages(self, count: int) -> bool:
        """Whether ``count`` messages, which wait outside of this queue, are more than a session may have waiting."""
        return count > self._max_messages

    @property
    def is_congested(self) -> bool:
        """Whether what is waiting exceeds half of the bounds."""
        return self._message_count > self._max_messages // 2 or self._byte_count > self._max_bytes // 2

    def __len__(self) -> int:
        """Number of messages that are waiting."""
        return self._message_count
