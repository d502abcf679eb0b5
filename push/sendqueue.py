"""The bounded outbound buffer of one session."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

__all__ = ["SendQueue"]


class SendQueue:
    """Frames that wait for a session's transport.

    The bound is on what is *left over*: a batch is accepted as long as the queue is within its bounds when it comes, so that
    a single large batch does not make everybody a slow consumer. Batches themselves are bounded by the relay's pages.
    """

    __slots__ = ("_bytes", "_frames", "_max_bytes", "_max_frames")

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes

    def offer(self, frames: Sequence[bytes]) -> bool:
        """Append the frames; False, and nothing appended, when too much is still waiting."""
        if self.full:
            return False
        self._frames.extend(frames)
        self._bytes += sum(map(len, frames))
        return True

    def take(self, about_bytes: int) -> list[bytes]:
        """The oldest frames, at least one if there is any, up to about that many bytes."""
        taken: list[bytes] = []
        room = about_bytes
        while self._frames and room > 0:
            frame = self._frames.popleft()
            taken.append(frame)
            room -= len(frame)
        self._bytes -= about_bytes - room
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether too much is waiting to accept more."""
        return len(self._frames) > self._max_frames or self._bytes > self._max_bytes

    @property
    def pressed(self) -> bool:
        """Whether more than half of the bounds is in use."""
        return len(self._frames) > self._max_frames // 2 or self._bytes > self._max_bytes // 2

    def __len__(self) -> int:
        return len(self._frames)
