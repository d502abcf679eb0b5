"""Frames of RFC 6455 and messages of RFC 7692 as bytes, independent of the code under test."""

from __future__ import annotations

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
    "split_frames",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FINAL, COMPRESSED = 0x80, 0x40


def frame(first_byte: int, payload: bytes, *, mask: bytes | None = bytes(4), length: int | None = None) -> bytes:
    """A frame of a client. ``length``: the payload length in the header, if it is to differ. ``mask`` None: an unmasked frame,
    which a client must not send.
    """
    size = len(payload) if length is None else length
    mask_bit = 0 if mask is None else 0x80
    if size < 126:
        header = bytes((first_byte, mask_bit | size))
    elif size < 2**16:
        header = struct.pack("!BBH", first_byte, mask_bit | 126, size)
    else:
        header = struct.pack("!BBQ", first_byte, mask_bit | 127, size)
    if mask is None:
        return header + payload
    if any(mask) and payload:
        key = (mask * (len(payload) // 4 + 1))[: len(payload)]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
    return header + mask + payload


def split_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The first byte and the payload of each frame that a server has written."""
    while data:
        size, start = data[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        yield data[0], data[start : start + size]
        data = data[start + size :]


def deflate_message(payload: bytes, flush: int = zlib.Z_SYNC_FLUSH, *, window_bits: int = 15, zdict: bytes = b"") -> bytes:
    """A compressed message (RFC 7692 section 7.2.1). ``zdict``: the message before it, which it may refer to."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -window_bits, zdict=zdict)
    data = compressor.compress(payload) + compressor.flush(flush)
    return data[:-4] if flush == zlib.Z_SYNC_FLUSH else data + b"\x00"


def inflate_messages(received: bytes) -> bytes:
    """What a server has sent, with the payloads of its frames decompressed, one a line. HTTP is returned unchanged."""
    head, _, frames = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        return received
    decompressor, parts, at = zlib.decompressobj(-15), [head], 0
    while len(frames) >= at + 2:
        size, start = frames[at + 1], at + 2
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(frames[at + 2 : start], "big")
        payload = frames[start : start + size]
        if frames[at] & COMPRESSED and len(payload) == size:
            payload = decompressor.decompress(payload + b"\x00\x00\xff\xff")
        parts.append(payload)
        at = start + size
    return b"\n".join(parts)
