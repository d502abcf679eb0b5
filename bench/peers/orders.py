"""Messages like those of a real shop, so that they compress like real ones."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache

# Together larger than the 32 KiB window of DEFLATE (RFC 7692), so that repeating the list does not help a compressor.
DISTINCT_MESSAGES = 1000
NAMES = ["Nowak", "Anna", "Kowalska", "Bogdan", "Иван", "Zieliński", "Ewa", "Петрова", "Dąbrowska", "Filip", "Szymański"]


@cache
def messages(size: int) -> Iterator[str]:
    """Endless messages of ``size`` bytes. Each call with the same size returns the same iterator."""
    return itertools.cycle(_distinct_messages(size))


def _distinct_messages(size: int) -> list[str]:
    rng = random.Random(1)
    at = datetime(2026, 7, 1, 12, tzinfo=UTC)
    made = []
    for number in range(DISTINCT_MESSAGES):
        at += timedelta(microseconds=rng.randrange(2_000_000))
        order = 4_000 + number
        # The load generator counts messages by this mark.
        name = f"@@0:0@@{rng.choice(NAMES)}"
        head = (
            f'{{"type":"new_order","id":"5f0c2ab1-{91_200 + 3 * number}-{order}","order_id":{order},'
            f'"order_number":"ORD-{order}","customer_name":"{name}'
        )
        tail = f'","total":"{rng.randrange(900, 30_000) / 100:.2f}","status":"pending","at":"{at:%Y-%m-%dT%H:%M:%S.%f}Z"}}'
        left = size - len(head.encode()) - len(tail)
        assert left >= 0, f"an order does not fit into {size} bytes"
        made.append(head + " " * left + tail)
    return made
