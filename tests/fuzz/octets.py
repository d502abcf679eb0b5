"""Byte level: builds and parses WebSocket frames (RFC 6455) and mutates bytes."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator

__all__ = [
    "BINARY",
    "CLOSE",
    "COMPRESSED",
    "CONTINUATION",
    "FINAL",
    "PING",
    "PONG",
    "TEXT",
    "deflate_message",
    "frame",
    "inflate_messages",
    "mutate",
    "split_frames",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FINAL, COMPRESSED = 0x80, 0x40

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


def split_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split the output of a server into frames: first byte and payload of each."""
    while data:
        size, start = data[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        yield data[0], data[start : start + size]
        data = data[start + size :]


def frame(first_byte: int, payload: bytes, *, mask: bytes | None = bytes(4), length: int | None = None) -> bytes:
    """One client frame. ``length``: a false length for the header. ``mask`` None: not masked, which the RFC forbids."""
    size = len(payload) if length is None else length
    bit = 0 if mask is None else 0x80
    if size < 126:
        start = bytes((first_byte, bit | size))
    elif size < 2**16:
        start = struct.pack("!BBH", first_byte, bit | 126, size)
    else:
        start = struct.pack("!BBQ", first_byte, bit | 127, size)
    if mask is None:
        return start + payload
    if any(mask) and payload:
        key = (mask * (len(payload) // 4 + 1))[: len(payload)]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
    return start + mask + payload


def deflate_message(payload: bytes, flush: int = zlib.Z_SYNC_FLUSH, *, window_bits: int = 15, zdict: bytes = b"") -> bytes:
    """A message compressed as in RFC 7692 section 7.2.1; ``zdict``: the previous messages, for context takeover."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -window_bits, zdict=zdict)
    whole = deflate.compress(payload) + deflate.flush(flush)
    return whole[:-4] if flush == zlib.Z_SYNC_FLUSH else whole + b"\x00"


def inflate_messages(got: bytes) -> bytes:
    """The output of a server with compressed WebSocket messages inflated."""
    head, _, frames = got.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        return got
    inflate, parts, at = zlib.decompressobj(-15), [head], 0
    while len(frames) >= at + 2:
        size, start = frames[at + 1], at + 2
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(frames[at + 2 : start], "big")
        payload = frames[start : start + size]
        if frames[at] & COMPRESSED and len(payload) == size:
            payload = inflate.decompress(payload + b"\x00\x00\xff\xff")
        parts.append(payload)
        at = start + size
    return b"\n".join(parts)


def mutate(rng: random.Random, data: bytes) -> bytes:
    """The bytes after a few random mutations."""
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
