"""Frames that go out together: made once, and the same object for every client that gets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

__all__ = ["CHUNK_BYTES", "Batch", "Encoder", "concat", "in_chunks"]

# About as much is written to a client at a time: what is written can no longer be dropped from its queue.
CHUNK_BYTES = 64 * 1024

Encoder = Callable[[Sequence[bytes]], bytes]


class Batch:
    """One or more frames. What a transport makes of them is worked out by the first client that needs it."""

    __slots__ = ("_encoded", "_encoder", "count", "is_totals", "messages", "offset", "parts", "size")

    def __init__(self, messages: Sequence[bytes]) -> None:
        self.messages = messages
        # Where it goes to everybody: its number in the feed, or of the totals the number of what comes after them.
        self.offset: int | None = None
        self.is_totals = False
        # Batches of the feed, of which it has been joined.
        self.parts: Sequence[Batch] = ()
        self.count = len(messages)
        self.size = sum(map(len, messages))
        self._encoder: Encoder | None = None
        self._encoded = b""

    def encoded(self, encoder: Encoder) -> bytes:
        """The frames as the encoder's transport writes them. Kept for the last encoder: nearly all clients have the same."""
        if self._encoder is not encoder:
            self._encoded = encoder(self.messages)
            self._encoder = encoder
        return self._encoded


def concat(batches: Sequence[Batch]) -> Batch:
    """Batches that follow each other in the feed, as one."""
    whole = Batch([frame for batch in batches for frame in batch.messages])
    whole.offset, whole.parts = batches[0].offset, batches
    return whole


def in_chunks(messages: Sequence[bytes]) -> Iterator[Batch]:
    """Batches of about CHUNK_BYTES, at least one frame each."""
    start = size = 0
    for at, frame in enumerate(messages):
        if size and size + len(frame) > CHUNK_BYTES:
            yield Batch(messages[start:at])
            start, size = at, 0
        size += len(frame)
    if start < len(messages):
        yield Batch(messages[start:])
