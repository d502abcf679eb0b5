"""Messages as a shop makes them: what a compressor finds in them is what it would find there."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache

# More than the 32 KiB that a compressor looks back (RFC 7692): coming round again is of no use to it.
DISTINCT_MESSAGES = 1000
NAMES = ["Nowak", "Anna", "Kowalska", "Bogdan", "Иван", "Zieliński", "Ewa", "Петрова", "Dąbrowska", "Filip", "Szymański"]


@cache
def messages(size: int) -> Iterator[str]:
    """Each of so many bytes; without end, and whoever asks again goes on where it was."""
    return itertools.cycle(_distinct_messages(size))


def _distinct_messages(size: int) -> list[str]:
    choose = random.Random(1)
    at = datetime(2026, 7, 1, 12, tzinfo=UTC)
    made = []
    for number in range(DISTINCT_MESSAGES):
        at += timedelta(microseconds=choose.randrange(2_000_000))
        order = 4_000 + number
        # The mark is what the load generator counts by.
        name = f"@@0:0@@{choose.choice(NAMES)}"
        head = (
            f'{{"type":"new_order","id":"5f0c2ab1-{91_200 + 3 * number}-{order}","order_id":{order},'
            f'"order_number":"ORD-{order}","customer_name":"{name}'
        )
        tail = f'","total":"{choose.randrange(900, 30_000) / 100:.2f}","status":"pending","at":"{at:%Y-%m-%dT%H:%M:%S.%f}Z"}}'
        left = size - len(head.encode()) - len(tail)
        assert left >= 0, f"an order does not fit into {size} bytes"
        made.append(head + " " * left + tail)
    return made
