"""The bounded outbound buffer of one session: what is for its client alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from push.delivery.batch import Batch

__all__ = ["SendQueue"]


class SendQueue:
    """Batches of frames that wait for a session's transport.

    The bound is on what is *left over*: more is accepted as long as the queue is within its bounds when it comes, so that
    a single large batch does not make everybody a slow consumer. Batches themselves are bounded by the relay's pages.
    """

    __slots__ = ("_batches", "_byte_count", "_max_bytes", "_max_messages", "_message_count")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        # Nearly always nothing, and the same for all: an empty list each would be 56 bytes, a deque ten times that.
        self._batches: Sequence[Batch] = ()
        self._message_count = 0
        self._byte_count = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes

    def offer(self, *batches: Batch) -> bool:
        """Append them; False, and nothing appended, when too much is still waiting."""
        if self.is_full:
            return False
        self.extend(batches)
        return True

    def extend(self, batches: Iterable[Batch]) -> None:
        """Append them, however much is waiting."""
        added = list(batches)
        self._batches = [*self._batches, *added] if self._batches else added
        for batch in added:
            self._message_count += batch.count
            self._byte_count += batch.size

    def take(self, about_bytes: int) -> list[Batch]:
        """The oldest batches, at least one if there is any, up to about that many bytes."""
        if self._byte_count <= about_bytes:
            taken, self._batches = list(self._batches), ()
            self._message_count = self._byte_count = 0
            return taken
        room = about_bytes
        number = 0
        for batch in self._batches:
            if room <= 0:
                break
            number += 1
            room -= batch.size
            self._message_count -= batch.count
        taken, self._batches = list(self._batches[:number]), self._batches[number:]
        self._byte_count -= about_bytes - room
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._batches = ()
        self._message_count = self._byte_count = 0

    @property
    def is_full(self) -> bool:
        """Whether too much is waiting to accept more."""
        return self._message_count > self._max_messages or self._byte_count > self._max_bytes

    def exceeds_limit(self, count: int) -> bool:
        """Whether so many frames, which wait elsewhere, are more than may wait."""
        return count > self._max_messages

    @property
    def is_congested(self) -> bool:
        """Whether more than half of the bounds is in use."""
        return self._message_count > self._max_messages // 2 or self._byte_count > self._max_bytes // 2

    def __len__(self) -> int:
        """How many frames are waiting."""
        return self._message_count
