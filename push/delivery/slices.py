"""Work over all clients, done in slices: other tasks run between two slices, and each pass begins with another client."""

from __future__ import annotations

__all__ = ["SLICE_BYTES", "SLICE_SIZE", "rotation_start"]

# Sessions that are served in one callback of the event loop, and bytes after which it serves no further one. Each takes a chunk
# (CHUNK_BYTES), and a cohort a chunk for each member, so a callback may write more.
SLICE_SIZE = 1000
SLICE_BYTES = 2 * 1024**2
# The fractional parts of the multiples of the golden ratio spread evenly over 0 to 1 (Weyl's theorem), so successive passes
# begin far apart for every number of clients.
GOLDEN_RATIO = (5**0.5 - 1) / 2


def rotation_start(iteration: int, count: int) -> int:
    """Index of the client with which pass ``iteration`` over ``count`` clients begins, so that no client is always last."""
    return int(iteration * GOLDEN_RATIO % 1 * count)
