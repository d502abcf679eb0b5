"""Messages that are sent together. A batch is made once, and every client that receives it gets the same object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

__all__ = ["CHUNK_BYTES", "Batch", "Encoder", "concat", "in_chunks"]

# A transport takes about this many bytes at a time. Data handed to the transport can no longer be dropped with the queue.
CHUNK_BYTES = 64 * 1024

# Encodes messages one after the other: the result for several is that for the first, then that for the others.
Encoder = Callable[[Sequence[bytes]], bytes]


class Batch:
    """One or more encoded messages. Their form on the wire is computed for the first client that needs it."""

    __slots__ = ("_encoded", "count", "is_totals", "messages", "offset", "parts", "size")

    def __init__(self, messages: Sequence[bytes]) -> None:
        self.messages = messages
        # By kind. A batch of the broadcast log: its offset there. A result of ``concat``: the offset of its first part. Totals:
        # the offset that the next batch of the log will get. None for messages of one client alone.
        self.offset: int | None = None
        self.is_totals = False
        # The batches that ``concat`` has joined.
        self.parts: Sequence[Batch] = ()
        self.count = len(messages)
        self.size = sum(map(len, messages))
        # What ``encoded`` has returned: one entry for each kind of transport, none until the first.
        self._encoded: tuple[tuple[Encoder, bytes], ...] = ()

    def encoded(self, encoder: Encoder) -> bytes:
        """The messages as ``encoder`` writes them. Each batch is encoded once, also as a part of others."""
        for known, data in self._encoded:
            if known is encoder:
                return data
        data = b"".join(part.encoded(encoder) for part in self.parts) if self.parts else encoder(self.messages)
        self._encoded = (*self._encoded, (encoder, data))
        return data


def concat(batches: Sequence[Batch]) -> Batch:
    """One batch with the messages of several, such as some that follow each other in the broadcast log."""
    whole = Batch([message for batch in batches for message in batch.messages])
    whole.offset, whole.parts = batches[0].offset, batches
    return whole


def in_chunks(messages: Sequence[bytes]) -> Iterator[Batch]:
    """The messages as batches of up to CHUNK_BYTES. A larger message is a batch of its own."""
    start = size = 0
    for index, message in enumerate(messages):
        if size and size + len(message) > CHUNK_BYTES:
            yield Batch(messages[start:index])
            start, size = index, 0
        size += len(message)
    if start < len(messages):
        yield Batch(messages[start:])
