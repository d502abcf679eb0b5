"""The cases of the Autobahn|Testsuite's fuzzing client, by their numbers, for an endpoint that answers instead of echoing.

A text message that arrived completely is recognized by its answer, an error that repeats the beginning of an unknown ``type``.
The endpoint accepts no binary messages: where the suite expects an echo, 1003 is correct. A message is limited to 64 KiB, which
is the size of the suite's large messages here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.helpers.websocket_frames import BINARY, CLOSE, CONTINUATION, FINAL, PING, PONG, TEXT, frame

__all__ = ["MAX_MESSAGE_BYTES", "Case", "Pause", "rfc_6455_cases"]

MAX_MESSAGE_BYTES = 64 * 1024
MASK = b"\x37\xfa\x21\x3d"  # of the example in section 5.7


class Pause:
    """A step that gives the server time to react."""


Step = bytes | Pause
PAUSE = Pause()


@dataclass(frozen=True, slots=True)
class Case:
    """One case: the steps to send and the expected result.

    ``answers``, ``pongs``: what the server must send in total. ``close``: the correct close codes; if empty, the connection
    stays open, and the server answers our close frame. ``section``: of RFC 6455, in groups 12 and 13 of RFC 7692.
    ``must_fail_early``: the server should close before the last step.
    """

    number: str
    description: str
    section: str
    steps: tuple[Step, ...]
    answers: int = 0
    pongs: tuple[bytes, ...] = ()
    close: tuple[int, ...] = ()
    must_fail_early: bool = False
    # The suite asserts nothing here.
    informational: bool = False
    # Sec-WebSocket-Extensions of the client and of the server.
    offers: str = ""
    agreed: str | None = None


def text(payload: bytes = b"Hello, world!", head: int = FINAL | TEXT) -> bytes:
    return frame(head, payload, mask=MASK)


def parts(*payloads: bytes, opcode: int = TEXT) -> list[bytes]:
    """A message with each payload in a frame of its own."""
    last = len(payloads) - 1
    return [
        frame((CONTINUATION if n else opcode) | (FINAL if n == last else 0), payload, mask=MASK)
        for n, payload in enumerate(payloads)
    ]


def split_bytes(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    return frame(FINAL | opcode, payload, mask=MASK)


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return control_frame(CLOSE, struct.pack("!H", code) + reason)


def in_writes(*frames: bytes, size: int = 1) -> tuple[Step, ...]:
    """The frames in writes of ``size`` bytes each."""
    return tuple(split_bytes(b"".join(frames), size))


def framing() -> Iterator[Case]:
    sizes = ((0, 0), (125, 0), (126, 0), (127, 0), (128, 0), (65535, 0), (65536, 0), (65536, 997))
    for n, (size, chop) in enumerate(sizes, 1):
        how = f"{size} bytes" + (f" in writes of {chop}" if chop else "")
        size_of_write = chop or 2**20
        sent = in_writes(text(b"*" * size), size=size_of_write)
        yield Case(f"1.1.{n}", f"a text of {how}", "5.2", sent, answers=1)
        sent = in_writes(text(b"\xfe" * size, FINAL | BINARY), size=size_of_write)
        yield Case(f"1.2.{n}", f"binary of {how}", "5.2", sent, close=(1003,))


def pings() -> Iterator[Case]:
    long = b"\xfe" * 125
    yield Case("2.1", "a ping without payload", "5.5.2", (control_frame(PING),), pongs=(b"",))
    yield Case("2.2", "a ping with text", "5.5.2", (control_frame(PING, b"Hello, world!"),), pongs=(b"Hello, world!",))
    yield Case(
        "2.3",
        "a ping with bytes",
        "5.5.2",
        (control_frame(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),),
        pongs=(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff",),
    )
    yield Case("2.4", "a ping of 125 bytes", "5.5.2", (control_frame(PING, long),), pongs=(long,))
    yield Case("2.5", "a ping of 126 bytes", "5.5", (control_frame(PING, b"\xfe" * 126),), close=(1002,))
    yield Case("2.6", "a ping of 125 bytes, byte by byte", "5.5.2", in_writes(control_frame(PING, long)), pongs=(long,))
    yield Case("2.7", "a pong unasked, without payload", "5.5.3", (control_frame(PONG),))
    yield Case("2.8", "a pong unasked, with payload", "5.5.3", (control_frame(PONG, b"unsolicited"),))
    yield Case(
        "2.9",
        "a pong unasked, then a ping",
        "5.5.3",
        (control_frame(PONG, b"unsolicited"), control_frame(PING, b"x")),
        pongs=(b"x",),
    )
    ten = tuple(b"payload-%d" % n for n in range(10))
    yield Case("2.10", "ten pings", "5.5.2", tuple(control_frame(PING, payload) for payload in ten), pongs=ten)
    yield Case(
        "2.11", "ten pings, byte by byte", "5.5.2", in_writes(*(control_frame(PING, payload) for payload in ten)), pongs=ten
    )


def reserved_bits() -> Iterator[Case]:
    def bad(bits: int, opcode: int = TEXT, payload: bytes = b"Hello, world!") -> bytes:
        return frame(FINAL | bits << 4 | opcode, payload, mask=MASK)

    two = (text(), bad(2), control_frame(PING))
    yield Case("3.1", "RSV 1 in a text", "5.2", (bad(1),), close=(1002,))
    yield Case("3.2", "RSV 2 after a good text, then a ping", "5.2", two, answers=1, close=(1002,))
    yield Case(
        "3.3",
        "RSV 3, in writes of their own",
        "5.2",
        (text(), PAUSE, bad(3), PAUSE, control_frame(PING)),
        answers=1,
        close=(1002,),
    )
    yield Case("3.4", "RSV 4, byte by byte", "5.2", in_writes(text(), bad(4), control_frame(PING)), answers=1, close=(1002,))
    yield Case("3.5", "RSV 5 in binary", "5.2", (bad(5, BINARY, b"\x00\xff"),), close=(1002,))
    yield Case("3.6", "RSV 6 in a ping", "5.2", (bad(6, PING),), close=(1002,))
    yield Case("3.7", "RSV 7 in a close", "5.2", (bad(7, CLOSE, b"\x03\xe8"),), close=(1002,))


def opcodes() -> Iterator[Case]:
    for kind, first in (("4.1", 3), ("4.2", 11)):
        for n in range(5):
            bad = frame(FINAL | first + n, b"" if n in (0, 2, 4) else b"reserved", mask=MASK)
            steps: tuple[Step, ...] = (bad, control_frame(PING)) if n < 2 else (text(), bad, control_frame(PING))
            if n == 3:
                steps = (text(), PAUSE, bad, PAUSE, control_frame(PING))
            if n == 4:
                steps = in_writes(text(), bad, control_frame(PING))
            yield Case(f"{kind}.{n + 1}", f"opcode {first + n}", "5.2", steps, answers=int(n >= 2), close=(1002,))


def fragmentation() -> Iterator[Case]:
    one, two = b"fragment1", b"fragment2"
    whole = parts(one, two)
    ping = control_frame(PING, b"ping payload")
    ponged: tuple[bytes, ...] = (b"ping payload",)
    yield Case("5.1", "a ping in two parts", "5.4", tuple(parts(one, two, opcode=PING)), close=(1002,))
    yield Case("5.2", "a pong in two parts", "5.4", tuple(parts(one, two, opcode=PONG)), close=(1002,))
    yield Case("5.3", "a text in two parts", "5.4", tuple(whole), answers=1)
    yield Case("5.4", "with time between them", "5.4", (whole[0], PAUSE, whole[1]), answers=1)
    yield Case("5.5", "byte by byte", "5.4", in_writes(*whole), answers=1)
    yield Case("5.6", "with a ping between them", "5.4", (whole[0], ping, whole[1]), answers=1, pongs=ponged)
    yield Case("5.7", "the same with time", "5.4", (whole[0], PAUSE, ping, PAUSE, whole[1]), answers=1, pongs=ponged)
    yield Case("5.8", "the same byte by byte", "5.4", in_writes(whole[0], ping, whole[1]), answers=1, pongs=ponged)
    ended, begun = frame(FINAL | CONTINUATION, one, mask=MASK), frame(CONTINUATION, one, mask=MASK)
    for n, nothing in ((9, ended), (12, begun)):
        what = "a last part" if nothing is ended else "a part"
        yield Case(f"5.{n}", f"{what} of nothing, then a text", "5.4", (nothing, text()), close=(1002,))
        yield Case(f"5.{n + 1}", "the same with time", "5.4", (nothing, PAUSE, text()), close=(1002,))
        yield Case(f"5.{n + 2}", "the same byte by byte", "5.4", in_writes(nothing, text()), close=(1002,))
    yield Case(
        "5.15",
        "a text in two parts, then a last part of nothing, then a text",
        "5.4",
        (*whole, ended, text()),
        answers=1,
        close=(1002,),
    )
    yield Case("5.16", "twice a part of nothing, and a text in two", "5.4", (begun, *whole) * 2, close=(1002,))
    yield Case("5.17", "twice a last part of nothing, and a text in two", "5.4", (ended, *whole) * 2, close=(1002,))
    yield Case("5.18", "a text begun within a text", "5.4", (frame(TEXT, one, mask=MASK), text(two)), close=(1002,))
    five = parts(*(b"fragment%d" % n for n in range(1, 6)))
    mixed: tuple[Step, ...] = (
        *five[:2],
        control_frame(PING, b"pongme 1!"),
        PAUSE,
        *five[2:4],
        control_frame(PING, b"pongme 2!"),
        five[4],
    )
    ponged = (b"pongme 1!", b"pongme 2!")
    yield Case("5.19", "a text in five parts, pings between", "5.4", mixed, answers=1, pongs=ponged)
    yield Case(
        "5.20", "the same without time", "5.4", tuple(step for step in mixed if step is not PAUSE), answers=1, pongs=ponged
    )


KAPPA = "κόσμε".encode()
# Groups 6.5 and following, from Markus Kuhn's "UTF-8 decoder capability and stress test".
UTF8: dict[str, Iterable[bytes]] = {
    "valid sequences": (b"hello$world", "hello¢world".encode(), "hello€world".encode(), "hello𤭢world".encode(), KAPPA),
    "prefixes of valid ones": [KAPPA[:n] for n in range(1, len(KAPPA) + 1)],
    "first of a length": (b"\0", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"),
    "first of length 5 and 6": (b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"),
    "last of a length": (b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"),
    "last of length 4, 5 and 6": (b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
    "other boundaries": (b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80"),
    "unexpected continuations": (
        b"\x80",
        b"\xbf",
        *(b"\x80\xbf\x80\xbf\x80\xbf"[:n] for n in range(2, 7)),
        bytes(range(0x80, 0xBF)),
    ),
    "lonely starts": [
        b"".join(bytes((c, 0x20)) for c in range(*r))
        for r in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    ],
    "last continuation missing": (
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ),
    "all of these together": (bytes.fromhex("c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"),),
    "impossible bytes": (b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"),
    "overlong slashes": (
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x80\x80\x80\xaf",
        b"\xfc\x80\x80\x80\x80\xaf",
    ),
    "overlong, largest code points": (
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf8\x87\xbf\xbf\xbf",
        b"\xfc\x83\xbf\xbf\xbf\xbf",
    ),
    "overlong NULs": (b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"),
    "single surrogates": [
        b"\xed" + pair for pair in (b"\xa0\x80", b"\xad\xbf", b"\xae\x80", b"\xaf\xbf", b"\xb0\x80", b"\xbe\x80", b"\xbf\xbf")
    ],
    "paired surrogates": [
        b"\xed" + one + b"\xed" + two
        for one in (b"\xa0\x80", b"\xad\xbf", b"\xae\x80", b"\xaf\xbf")
        for two in (b"\xb0\x80", b"\xbf\xbf")
    ],
    "non-characters, which are valid": [
        b"\xef\xbf\xbe",
        b"\xef\xbf\xbf",
        *(chr(plane << 16 | low).encode() for plane in range(1, 17) for low in (0xFFFE, 0xFFFF)),
    ],
    "specials": [chr(code).encode() for code in range(0xFFF9, 0x10000)],
}


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def utf8() -> Iterator[Case]:
    hello = "Hello-µ@ßöäüàá-UTF-8!!".encode()
    yield Case("6.1.1", "an empty text", "5.6", (text(b""),), answers=1)
    yield Case("6.1.2", "an empty text in three parts", "5.4", tuple(parts(b"", b"", b"")), answers=1)
    yield Case(
        "6.1.3",
        "only the middle of three parts is not empty",
        "5.4",
        tuple(parts(b"", b"middle frame payload", b"")),
        answers=1,
    )
    yield Case("6.2.1", "UTF-8 in one part", "5.6", (text(hello),), answers=1)
    yield Case("6.2.2", "in two, cut between letters", "5.6", tuple(parts(hello[:12], hello[12:])), answers=1)
    yield Case("6.2.3", "a byte a part", "5.6", tuple(parts(*split_bytes(hello, 1))), answers=1)
    yield Case("6.2.4", "a byte a part", "5.6", tuple(parts(*split_bytes(KAPPA, 1))), answers=1)
    broken = KAPPA + b"\xed\xa0\x80edited"
    yield Case("6.3.1", "not UTF-8", "8.1", (text(broken),), close=(1007,))
    yield Case("6.3.2", "not UTF-8, a byte a part", "8.1", tuple(parts(*split_bytes(broken, 1))), close=(1007,))
    for n, (bad, last) in enumerate(((b"\xf4\x90\x80\x80", b"edited"), (b"\xf4\x90", b"\x80\x80edited")), 1):
        three = parts(KAPPA, bad, last)
        yield Case(
            f"6.4.{n}",
            "not UTF-8 from the second part on, time between",
            "8.1",
            (three[0], PAUSE, three[1], PAUSE, three[2]),
            close=(1007,),
            must_fail_early=True,
        )
        whole = text(KAPPA + bad + last)
        first, second = 6 + len(KAPPA), 6 + len(KAPPA) + len(bad)
        yield Case(
            f"6.4.{n + 2}",
            "the same in one frame that is written in three",
            "8.1",
            (whole[:first], PAUSE, whole[first:second], PAUSE, whole[second:]),
            close=(1007,),
            must_fail_early=True,
        )
    for group, (what, sequences) in enumerate(UTF8.items(), 5):
        for n, sequence in enumerate(sequences, 1):
            good = is_utf8(sequence)
            sent = (text(b'{"type":"' + sequence + b'"}'),)
            yield Case(
                f"6.{group}.{n}", f"{what}: {sequence[:8].hex()}", "8.1", sent, answers=int(good), close=() if good else (1007,)
            )


def closing() -> Iterator[Case]:
    bye, normal = close_frame(1000), (1000,)
    yield Case("7.1.1", "a text, then close", "5.5.1", (text(), PAUSE, bye), answers=1, close=normal)
    yield Case("7.1.2", "close twice", "5.5.1", (bye, bye), close=normal)
    yield Case("7.1.3", "close, then a ping", "5.5.1", (bye, control_frame(PING, b"x")), close=normal)
    yield Case("7.1.4", "close, then a text", "5.5.1", (bye, text()), close=normal)
    yield Case(
        "7.1.5",
        "close within a message, which then ends",
        "5.5.1",
        (parts(b"a", b"b")[0], bye, parts(b"a", b"b")[1]),
        close=normal,
    )
    large = text(b"BAsd7&jh23" * 6553)
    yield Case(
        "7.1.6",
        "a large text, a text, close and a ping at once",
        "5.5.1",
        (large, text(), bye, control_frame(PING)),
        close=normal,
        informational=True,
    )
    yield Case("7.3.1", "close without a code", "5.5.1", (control_frame(CLOSE),), close=normal)
    yield Case("7.3.2", "close with half a code", "5.5.1", (control_frame(CLOSE, b"x"),), close=(1002,))
    yield Case("7.3.3", "close with a code", "5.5.1", (bye,), close=normal)
    yield Case("7.3.4", "close with a reason", "5.5.1", (close_frame(1000, b"Hello World!"),), close=normal)
    yield Case("7.3.5", "close with a reason of 123 bytes", "5.5.1", (close_frame(1000, b"*" * 123),), close=normal)
    yield Case("7.3.6", "close with a reason of 124 bytes", "5.5", (close_frame(1000, b"*" * 124),), close=(1002,))
    yield Case(
        "7.5.1",
        "close with a reason that is not UTF-8",
        "5.5.1",
        (close_frame(1000, KAPPA + b"\xed\xa0\x80"),),
        close=(1007, 1002),
    )
    for n, code in enumerate((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999), 1):
        yield Case(f"7.7.{n}", f"close with {code}", "7.4", (close_frame(code),), close=(1000, code))
    for n, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
        yield Case(f"7.9.{n}", f"close with {code}, which must not be sent", "7.4", (close_frame(code),), close=(1002,))
    for n, code in enumerate((5000, 65535), 1):
        yield Case(
            f"7.13.{n}", f"close with {code}", "7.4.2", (close_frame(code),), close=(1000, 1002, code), informational=True
        )


def limits() -> Iterator[Case]:
    largest = b"*" * MAX_MESSAGE_BYTES
    for kind, name, opcode in ((1, "text", TEXT), (2, "binary", BINARY)):
        for n, kib in enumerate((64, 256, 1024, 4096, 8192, 16384), 1):
            fits = kib * 1024 <= MAX_MESSAGE_BYTES
            sent: tuple[Step, ...] = (
                (text(largest, FINAL | opcode),) if fits else (frame(FINAL | opcode, b"", mask=MASK, length=kib * 1024),)
            )
            good = fits and opcode == TEXT
            code = () if good else (1003,) if fits else (1009,)
            yield Case(f"9.{kind}.{n}", f"{name} of {kib} KiB", "10.4", sent, answers=int(good), close=code)
    for kind, name, opcode in ((3, "text", TEXT), (4, "binary", BINARY)):
        for n, size in enumerate((64, 256, 1024, 4096, 16384, 65536), 1):
            good = opcode == TEXT
            sent = tuple(parts(*split_bytes(largest, size), opcode=opcode))
            yield Case(
                f"9.{kind}.{n}",
                f"{name} of 64 KiB in parts of {size}",
                "5.4",
                sent,
                answers=int(good),
                close=() if good else (1003,),
            )
        more = tuple(parts(*split_bytes(largest + b"*", 4096), opcode=opcode))
        yield Case(f"9.{kind}.7", f"{name} of a byte more, in parts of 4096", "10.4", more, close=(1009,))
    for kind, name, opcode in ((5, "text", TEXT), (6, "binary", BINARY)):
        for n, size in enumerate((64, 128, 256, 512, 1024, 2048), 1):
            good = opcode == TEXT
            sent = in_writes(text(largest, FINAL | opcode), size=size)
            yield Case(
                f"9.{kind}.{n}",
                f"{name} of 64 KiB in writes of {size}",
                "5.2",
                sent,
                answers=int(good),
                close=() if good else (1003,),
            )
    for n, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
        yield Case(f"9.7.{n}", f"1,000 texts of {size} bytes", "5.2", (text(b"*" * size),) * 1000, answers=1000)
        yield Case(
            f"9.8.{n}",
            f"binary of {size} bytes, 1,000 times",
            "5.2",
            (text(b"*" * size, FINAL | BINARY),) * 1000,
            close=(1003,),
        )
    yield Case("10.1.1", "64 KiB in parts of 1,300", "5.4", tuple(parts(*split_bytes(largest, 1300))), answers=1)


def additional() -> Iterator[Case]:
    """Cases that the suite does not have."""
    yield Case("+1", "a text that is not masked", "5.1", (frame(FINAL | TEXT, b"{}", mask=None),), close=(1002,))
    yield Case("+2", "a ping that is not masked", "5.1", (frame(FINAL | PING, b"", mask=None),), close=(1002,))
    yield Case(
        "+3", "a text begun within one whose first part is empty", "5.4", (frame(TEXT, b"", mask=MASK), text()), close=(1002,)
    )
    yield Case("+4", "a mask of zeros", "5.3", (frame(FINAL | TEXT, b"{}", mask=bytes(4)),), answers=1)
    long = bytes((FINAL | TEXT, 0x80 | 127)) + struct.pack("!Q", 2**63) + MASK
    yield Case("+5", "a length with the highest bit set", "5.2", (long,), close=(1002, 1009))
    endless = (frame(TEXT, b"", mask=MASK), frame(CONTINUATION, b"", mask=MASK) * 2000)
    yield Case("+10", "empty parts without end", "5.4, 10.4", endless, close=(1009,))


def rfc_6455_cases() -> Iterator[Case]:
    """In the order of the report."""
    for family in (framing, pings, reserved_bits, opcodes, fragmentation, utf8, closing, limits, additional):
        yield from family()
