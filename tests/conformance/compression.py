"""Groups 12 and 13 of the suite: RFC 7692. Kinds of payload and kinds of offers, each in the suite's eighteen sizes.

Each case sends several messages, every other one compressed, by one compressor with the window that was negotiated (section
7.1.2.2).
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator

from tests.conformance.cases import MASK, MAX_MESSAGE_BYTES, Case, Step, split_bytes, text
from tests.helpers.websocket_frames import BINARY, COMPRESSED, CONTINUATION, FINAL, TEXT, deflate_message, frame

__all__ = ["rfc_7692_cases"]

MESSAGES = 10
# Size of a message and of its fragments (0: not fragmented).
SIZES = (
    *((size, 0) for size in (16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)),
    *((size, 256) for size in (8192, 16384, 32768, 65536, 131072)),
    *((size, 4096) for size in (32768, 65536, 131072)),
)
AGREED = "permessage-deflate"
WITH_BITS = f"{AGREED}; client_max_window_bits=9; server_max_window_bits=15"
# Group 13: case number, the suite's offer, the expected response, and the window bits of the client.
GROUP_13_OFFERS = (
    ("13.1", "permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover", None, 15),
    ("13.2", "permessage-deflate; client_max_window_bits=9; server_max_window_bits=15", WITH_BITS, 9),
    ("13.3", "permessage-deflate; client_max_window_bits; server_max_window_bits=9", None, 15),
    ("13.4", "permessage-deflate; client_max_window_bits; server_max_window_bits=15", WITH_BITS, 9),
    ("13.5", "permessage-deflate; server_no_context_takeover; server_max_window_bits=9", None, 15),
    ("13.6", "permessage-deflate; server_no_context_takeover; server_max_window_bits=15", None, 15),
    ("13.7", "permessage-deflate; server_max_window_bits=9; server_no_context_takeover, permessage-deflate", AGREED, 15),
)
PROSE = "Nothing is lost, order is kept, and what comes twice has the same id. "
HEBREW = "המערכת שולחת כל שינוי בהזמנות לכל לוח מחוונים מחובר. "


def _payload(kind: str, size: int) -> bytes:
    """A payload of ``size`` bytes: valid UTF-8, except for the kind "binary"."""
    rng = random.Random(f"{kind} {size}")
    match kind:
        case "JSON":
            whole = "".join(
                f'{{"id":{n},"total":"{rng.random():.2f}","status":"ready"}},' for n in range(size // 30 + 1)
            ).encode()
        case "binary":
            whole = rng.randbytes(size)
        case "prose":
            whole = (PROSE * (size // len(PROSE) + 1)).encode()
        case "letters at random":
            whole = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789+/", k=size)).encode()
        case _:
            whole = (HEBREW * (size // len(HEBREW) + 1)).encode()
    return whole[:size].decode(errors="ignore").encode().ljust(size) if kind != "binary" else whole


def _frames(payload: bytes, opcode: int, window_bits: int, part: int) -> Iterator[bytes]:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -window_bits)
    for number in range(MESSAGES):
        compress = number % 2 == 0
        whole = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4] if compress else payload
        parts = split_bytes(whole, part) if part else [whole]
        for n, one in enumerate(parts):
            head = CONTINUATION if n else opcode | (COMPRESSED if compress else 0)
            yield frame(head | (FINAL if n == len(parts) - 1 else 0), one, mask=MASK)


def _cases_by_size(number: str, kind: str, offers: str, agreed: str | None, window_bits: int) -> Iterator[Case]:
    for n, (size, part) in enumerate(SIZES, 1):
        what = f"{kind} of {size} bytes" + (f" in parts of {part}" if part else "")
        binary = kind == "binary"
        steps: tuple[Step, ...]
        if agreed is None:
            # Not negotiated: uncompressed messages are accepted, a compressed one is a protocol error.
            steps = (*(text(_payload(kind, min(size, MAX_MESSAGE_BYTES))),) * MESSAGES, text(b"", FINAL | COMPRESSED | TEXT))
            yield Case(f"{number}.{n}", what, "7.1", steps, answers=MESSAGES, close=(1002,), offers=offers)
            continue
        steps = tuple(_frames(_payload(kind, size), BINARY if binary else TEXT, window_bits, part))
        # Compression makes random bytes slightly longer.
        close = (
            (1003, 1009)
            if binary and size >= MAX_MESSAGE_BYTES
            else (1003,)
            if binary
            else (1009,)
            if size > MAX_MESSAGE_BYTES
            else ()
        )
        answers = 0 if close else MESSAGES
        yield Case(f"{number}.{n}", what, "7.2", steps, answers=answers, close=close, offers=offers, agreed=agreed)


def rfc_7692_cases() -> Iterator[Case]:
    """In the order of the report. Made when they are asked for: importing them would take each process of a test run 1.5 s."""
    for n, kind in enumerate(("JSON", "binary", "prose", "letters at random", "Hebrew"), 1):
        offers = "permessage-deflate; client_max_window_bits"
        yield from _cases_by_size(f"12.{n}", kind, offers, f"{AGREED}; client_max_window_bits=9", 9)
    for number, offers, agreed, window_bits in GROUP_13_OFFERS:
        yield from _cases_by_size(number, "JSON", offers, agreed, window_bits)
    own = "permessage-deflate; client_no_context_takeover"
    parts = [frame(FINAL | COMPRESSED | TEXT, deflate_message(PROSE.encode()), mask=MASK)] * MESSAGES
    yield Case("+11", "each message compressed by itself", "7.1.1.2", tuple(parts), answers=MESSAGES, offers=own, agreed=own)
    offers = "permessage-deflate"
    bad = frame(FINAL | COMPRESSED | TEXT, b"\xff" * 9, mask=MASK)
    yield Case("+6", "compressed, and no DEFLATE", "7.2.2", (bad,), close=(1007,), offers=offers, agreed=AGREED)
    control = frame(FINAL | COMPRESSED | 0x9, b"", mask=MASK)
    yield Case("+7", "a compressed ping", "6.1", (control,), close=(1002,), offers=offers, agreed=AGREED)
    later = frame(COMPRESSED | TEXT, b"", mask=MASK) + frame(FINAL | COMPRESSED, b"\x00", mask=MASK)
    yield Case("+8", "a later part that is marked as compressed", "6.1", (later,), close=(1002,), offers=offers, agreed=AGREED)
    bomb = frame(FINAL | COMPRESSED | TEXT, deflate_message(b"x" * 50_000_000), mask=MASK)
    yield Case("+9", "50 MB in 48 KB", "8", (bomb,), close=(1009,), offers=offers, agreed=AGREED)
