"""Random mutations of bytes."""

from __future__ import annotations

import random

__all__ = ["mutate"]

INTERESTING_BYTES = (
    0x00,
    0x01,
    0x02,
    0x08,
    0x09,
    0x0A,
    0x0D,
    0x20,
    0x22,
    0x3A,
    0x5C,
    0x7B,
    0x7D,
    0x7E,
    0x7F,
    0x80,
    0x81,
    0x88,
    0xC0,
    0xFE,
    0xFF,
)


def mutate(rng: random.Random, data: bytes) -> bytes:
    """The bytes after one to eight random changes: bits, bytes, insertions, deletions, repetitions, truncation."""
    buffer = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(buffer) + 1)
        match rng.randrange(8):
            case 0 if buffer:
                buffer[at % len(buffer)] ^= 1 << rng.randrange(8)
            case 1 if buffer:
                buffer[at % len(buffer)] = rng.choice(INTERESTING_BYTES)
            case 2:
                buffer[at:at] = bytes(rng.choice(INTERESTING_BYTES) for _ in range(rng.choice((1, 1, 2, 4, 16))))
            case 3:
                del buffer[at : at + rng.choice((1, 1, 2, 4, 50))]
            case 4:
                buffer[at:at] = buffer[at : at + rng.choice((1, 4, 30, 500))]
            case 5:
                del buffer[at:]
            case 6:
                buffer[at:at] = rng.randbytes(rng.choice((1, 4, 30)))
            case _:
                other = rng.randrange(len(buffer) + 1)
                buffer[at : at + 8], buffer[other : other + 8] = buffer[other : other + 8], buffer[at : at + 8]
    return bytes(buffer)
