"""gateway.websocket.frames: parsing of valid and malformed frames, compressed and not, however the bytes are split."""

from __future__ import annotations

import inspect
import random
import re
import zlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sessions.session_adapter import PROTOCOL_ERRORS
from gateway.websocket import frames
from gateway.websocket.frames import MAX_FRAGMENTS, FrameReader, Message, ProtocolError, close_frame, text_frames
from gateway.websocket.permessage_deflate import Agreement
from push.delivery.rate_limit import RateLimits
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.protocol.access import Grant, Role
from push.protocol.messages import CloseCode
from tests.helpers.fake_transport import FakeTransport
from tests.helpers.strategies import ANY_TEXT
from tests.helpers.websocket_frames import (
    BINARY,
    CLOSE,
    COMPRESSED,
    CONTINUATION,
    FINAL,
    PING,
    TEXT,
    deflate_message,
    frame,
    split_frames,
)

MASKS = st.binary(min_size=4, max_size=4)
FRAME_LIKE = st.builds(lambda h, p, m: frame(h, p, mask=m), st.integers(0, 255), st.binary(max_size=130), MASKS)


def make_session(limits: RateLimits | None = None) -> Session:
    session = Session(SendQueue(1000, 2**20), FakeTransport(), limits)
    session.grant = Grant(Role.ADMIN)
    return session


def read(
    parts: Iterable[bytes], session: Session | None = None, max_bytes: int = 65536, *, extension: Agreement | None = None
) -> tuple[list[Message], int | None]:
    """All messages, and the code of the ProtocolError that ended reading."""
    reader, messages = FrameReader(max_bytes, extension), []
    try:
        for part in parts:
            reader.feed(part)
            while (message := reader.next_message((session or make_session()).charge_rate_limit)) is not None:
                messages.append(message)
    except ProtocolError as error:
        assert reader.closed
        return messages, error.code
    return messages, None


def split_at(data: bytes, positions: list[int]) -> list[bytes]:
    ends = sorted({*(min(position, len(data)) for position in positions), len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(st.lists(st.tuples(st.text(max_size=20_000), MASKS), max_size=4), st.lists(st.integers(0, 100_000)))
def test_text_messages_are_parsed_however_the_bytes_are_split(texts: list[tuple[str, bytes]], positions: list[int]) -> None:
    data = b"".join(frame(FINAL | TEXT, text.encode(), mask=mask) for text, mask in texts)
    messages, code = read(split_at(data, positions), max_bytes=100_000)
    assert [message.text for message in messages] == [text for text, _ in texts]
    assert code is None


@given(st.lists(st.text(max_size=300), min_size=1, max_size=4), st.lists(st.integers(0, 1500), max_size=9))
def test_fragmented_message_with_pings_between_its_frames_is_one_message(texts: list[str], positions: list[int]) -> None:
    text = "".join(texts)
    parts = split_at(text.encode(), positions)  # also within a character
    data = b"".join(
        frame((TEXT if n == 0 else CONTINUATION) | (FINAL if n == len(parts) - 1 else 0), part, mask=b"abcd")
        + frame(FINAL | PING, b"%d" % n, mask=b"efgh")
        for n, part in enumerate(parts)
    )
    messages, code = read(split_at(data, positions))
    assert code is None
    assert [message.text for message in messages if message.opcode == TEXT] == [text]
    assert [message.payload for message in messages if message.opcode == PING] == [b"%d" % n for n in range(len(parts))]


@given(st.binary(max_size=300) | st.lists(FRAME_LIKE, max_size=4).map(b"".join), st.integers(0, 300))
def test_arbitrary_bytes_are_parsed_the_same_however_they_are_split(data: bytes, at: int) -> None:
    assert read([data]) == read([data[:at], data[at:]]) == read(data[n : n + 1] for n in range(len(data)))


VALID = frame(FINAL | TEXT, b"{}", mask=b"abcd")
MALFORMED = {
    "no mask": (frame(FINAL | TEXT, b"{}", mask=None), 1002),
    "no mask on a ping": (frame(FINAL | PING, b"", mask=None), 1002),
    "reserved bit": (frame(FINAL | TEXT | 0x40, b""), 1002),
    "unknown opcode": (frame(FINAL | 0x3, b""), 1002),
    "unknown control opcode": (frame(FINAL | 0xB, b""), 1002),
    "long ping": (frame(FINAL | PING, bytes(126)), 1002),
    "fragmented ping": (frame(PING, b""), 1002),
    "continuation without a message": (frame(FINAL | CONTINUATION, b""), 1002),
    "message within another": (frame(TEXT, b"{") + frame(FINAL | TEXT, b"}"), 1002),
    "message within an empty one": (frame(TEXT, b"") + frame(FINAL | TEXT, b"}"), 1002),
    "length not minimal in 16 bits": (bytes((FINAL | TEXT, 0x80 | 126, 0, 125)) + bytes(4), 1002),
    "length not minimal in 64 bits": (bytes((FINAL | TEXT, 0x80 | 127)) + (65535).to_bytes(8, "big") + bytes(4), 1002),
    "negative length": (bytes((FINAL | TEXT, 0x80 | 127)) + b"\xff" * 8 + bytes(4), 1002),
    "header announces too much": (frame(FINAL | TEXT, b"", length=65537), 1009),
    "fragments too big together": (frame(TEXT, bytes(40_000)) + frame(CONTINUATION, b"", length=40_000), 1009),
    "invalid UTF-8": (frame(FINAL | TEXT, b"\xff"), 1007),
    "incomplete character": (frame(FINAL | TEXT, "Ж".encode()[:1]), 1007),
    "incomplete character before the last frame": (frame(TEXT, "Ж".encode()[:1]) + frame(FINAL | CONTINUATION, b""), 1007),
    "surrogate": (frame(FINAL | TEXT, b"\xed\xa0\x80"), 1007),
    "invalid UTF-8 in an incomplete frame": (frame(FINAL | TEXT, b"\xff", length=2), 1007),
    "close code of one byte": (frame(FINAL | CLOSE, b"x"), 1002),
    "close reason in invalid UTF-8": (frame(FINAL | CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    **{
        f"close code {code}": (frame(FINAL | CLOSE, code.to_bytes(2, "big"), mask=b"abcd"), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    },
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_frame_raises_its_code_and_ends_reading(name: str) -> None:
    malformed, code = MALFORMED[name]
    assert read([VALID + malformed + VALID]) == ([Message(TEXT, text="{}")], code)


def test_every_code_of_a_protocol_error_is_a_close_code_of_the_session() -> None:
    """The endpoint closes the session with ``CloseCode(error.code)``; 1003 is raised by the session itself."""
    names = re.findall(r"raise self\._protocol_error\((\w+),", inspect.getsource(FrameReader))
    assert len(names) >= 10
    raised = {getattr(frames, name) for name in names}
    assert raised == {code for _, code in (*MALFORMED.values(), *MALFORMED_COMPRESSED.values())}
    assert {CloseCode(code) for code in raised} | {CloseCode.UNSUPPORTED} == set(PROTOCOL_ERRORS)


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
def test_nothing_is_read_after_a_close_frame(code: int) -> None:
    close = frame(FINAL | CLOSE, code.to_bytes(2, "big") + "tschüss".encode(), mask=b"abcd")
    assert read([close + VALID, VALID]) == ([Message(CLOSE, code=code)], None)
    assert read([frame(FINAL | CLOSE, b"")]) == ([Message(CLOSE, code=1005)], None)


def test_binary_payload_is_not_validated() -> None:
    assert read([frame(BINARY, b"\xff") + frame(FINAL | CONTINUATION, b"\xff")]) == ([Message(BINARY)], None)


@pytest.mark.parametrize("part", [frame(TEXT, b""), frame(FINAL | PING, b""), frame(FINAL | TEXT, b"{}")])
def test_nothing_is_read_after_the_last_frame_within_the_rate_limit(part: bytes) -> None:
    session = make_session(RateLimits(frames_per_second=10))
    more = part if part[0] & FINAL else frame(CONTINUATION, b"")
    messages, code = read([part + more * 99, VALID], session)
    assert code is None
    assert len(messages) == (20 if part[0] & FINAL else 0)  # the burst is two seconds' worth
    assert session.close_code is CloseCode.TOO_FAST


def test_bytes_of_an_incomplete_message_count_against_the_rate_limit() -> None:
    session = make_session(RateLimits(bytes_per_second=1000))
    read([frame(TEXT, b"x" * 1500) + frame(CONTINUATION, b"x" * 1500)], session)
    assert session.close_code is CloseCode.TOO_FAST


@given(st.lists(st.binary(max_size=70_000), max_size=5), st.integers(3000, 4999), ANY_TEXT)
def test_frames_of_the_server_can_be_parsed(payloads: list[bytes], code: int, reason: str) -> None:
    ping = payloads[-1] if payloads else None
    written = list(split_frames(text_frames(payloads, ping_after=ping)))
    assert [payload for first_byte, payload in written if first_byte == FINAL | TEXT] == payloads
    assert [
        after
        for (first_byte, payload), (after, _) in pairwise([*written, (0, b"")])
        if first_byte == FINAL | TEXT and payload == ping
    ] == [FINAL | PING] * payloads.count(payloads[-1] if payloads else b"")
    ((first_byte, payload),) = split_frames(close_frame(code, reason))
    assert first_byte == FINAL | CLOSE
    assert len(payload) <= 125
    assert int.from_bytes(payload[:2], "big") == code
    assert reason.encode(errors="replace").decode().startswith(payload[2:].decode())


# ---------------------------------------------------------------- compressed messages


COMPRESSED_TEXT = FINAL | COMPRESSED | TEXT
NO_CONTEXT, WITH_CONTEXT = Agreement("", 0), Agreement("", 512)


def read_texts(parts: Any, extension: Agreement = NO_CONTEXT, **options: Any) -> tuple[list[str], int | None]:
    messages, code = read(parts, extension=extension, **options)
    return [message.text for message in messages if message.opcode == TEXT], code


@given(
    st.lists(st.tuples(st.text(max_size=3000), st.booleans(), st.integers(1, 5)), max_size=4),
    st.lists(st.integers(0, 4000), max_size=9),
)
def test_compressed_and_plain_messages_are_parsed_however_they_are_fragmented_and_split(
    sent: list[tuple[str, bool, int]], positions: list[int]
) -> None:
    data = b""
    for text, compress, count in sent:
        payload = deflate_message(text.encode()) if compress else text.encode()
        parts = split_at(payload, [n * len(payload) // count for n in range(1, count)])
        for n, part in enumerate(parts):
            first_byte = TEXT | (COMPRESSED if compress else 0) if n == 0 else CONTINUATION
            data += frame(first_byte | (FINAL if n == len(parts) - 1 else 0), part, mask=b"abcd") + frame(FINAL | PING, b"")
    assert read_texts(split_at(data, positions)) == ([text for text, _, _ in sent], None)


@given(
    st.lists(st.tuples(st.text(max_size=3000), st.booleans(), st.integers(1, 5)), max_size=8),
    st.lists(st.integers(0, 4000), max_size=9),
    st.integers(9, 15),
    st.sampled_from([zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH]),
)
def test_compressed_messages_may_refer_to_earlier_ones(
    sent: list[tuple[str, bool, int]], positions: list[int], window_bits: int, flush: int
) -> None:
    """One compressor for all messages, with any window: uncompressed messages between them do not count (section 7.2.2)."""
    compressor, data = zlib.compressobj(9, zlib.DEFLATED, -window_bits), b""
    for text, compress, count in sent:
        payload = text.encode()
        if compress:
            # Section 7.2.3.6: zlib makes nothing of an empty message after an empty message.
            payload = (compressor.compress(payload) + compressor.flush(flush))[:-4] or b"\x00"
        parts = split_at(payload, [n * len(payload) // count for n in range(1, count)])
        for n, part in enumerate(parts):
            first_byte = TEXT | (COMPRESSED if compress else 0) if n == 0 else CONTINUATION
            data += frame(first_byte | (FINAL if n == len(parts) - 1 else 0), part, mask=b"abcd") + frame(FINAL | PING, b"")
    agreement = Agreement("", 1 << window_bits)
    assert read_texts(split_at(data, positions), agreement) == ([text for text, _, _ in sent], None)


def test_a_reference_beyond_the_agreed_window_is_no_deflate_data() -> None:
    noise = random.Random(1).randbytes(600).hex()
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    first, second = (compressor.compress(noise.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH) for _ in range(2))
    data = frame(COMPRESSED_TEXT, first[:-4], mask=b"abcd") + frame(COMPRESSED_TEXT, second[:-4], mask=b"abcd")
    assert read_texts([data], Agreement("", 1 << 15)) == ([noise, noise], None)
    assert read_texts([data], WITH_CONTEXT) == ([noise], 1007)
    assert read_texts([data], NO_CONTEXT) == ([noise], 1007)


@pytest.mark.parametrize("payload", [b"", b"x"])
@pytest.mark.parametrize("first_byte", [TEXT, BINARY, COMPRESSED | TEXT])
def test_the_fragments_of_a_message_are_limited(first_byte: int, payload: bytes) -> None:
    """Empty ones too, which have no end by their size."""
    part, last = frame(CONTINUATION, payload), frame(FINAL | CONTINUATION, b"\x00" if first_byte & COMPRESSED else payload)
    if first_byte & COMPRESSED:
        part = frame(CONTINUATION, b"")
    whole = [frame(first_byte, b""), part * (MAX_FRAGMENTS - 2), last]
    messages, code = read([*whole, *whole], extension=NO_CONTEXT)
    assert (len(messages), code) == (2, None)
    messages, code = read([*whole, frame(first_byte, b""), part * (MAX_FRAGMENTS - 1), last], extension=NO_CONTEXT)
    assert (len(messages), code) == (1, 1009)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(FINAL | TEXT, b"\xff"), "the text is not valid UTF-8"),
        (frame(FINAL | COMPRESSED | TEXT, deflate_message(b"\xff")), "the text is not valid UTF-8"),
        (frame(FINAL | COMPRESSED | TEXT, b"{}"), "the compressed message is not valid DEFLATE data"),
        (frame(FINAL | CLOSE, (1000).to_bytes(2, "big") + b"\xff"), "the close reason is not valid UTF-8"),
    ],
)
def test_the_error_says_what_is_not_valid(data: bytes, reason: str) -> None:
    reader = FrameReader(1000, NO_CONTEXT)
    reader.feed(data)
    with pytest.raises(ProtocolError, match=reason) as raised:
        reader.next_message(lambda size, frames: True)
    assert raised.value.code == 1007


@given(st.binary(max_size=300), st.integers(0, 300))
def test_arbitrary_compressed_bytes_are_parsed_the_same_however_they_are_split(payload: bytes, at: int) -> None:
    data = frame(FINAL | COMPRESSED | TEXT, payload, mask=b"abcd")
    assert read_texts([data]) == read_texts([data[:at], data[at:]]) == read_texts(data[n : n + 1] for n in range(len(data)))


MALFORMED_COMPRESSED = {
    "another reserved bit with RSV1": (frame(COMPRESSED_TEXT | 0x20, deflate_message(b"{}")), 1002),
    "another reserved bit": (frame(FINAL | TEXT | 0x10, b"{}"), 1002),
    "compressed ping": (frame(FINAL | COMPRESSED | PING, b""), 1002),
    "RSV1 on a continuation": (frame(COMPRESSED | TEXT, deflate_message(b"{}")) + frame(FINAL | COMPRESSED, b""), 1002),
    "not DEFLATE": (frame(COMPRESSED_TEXT, b"{}"), 1007),
    "not DEFLATE in an incomplete frame": (frame(COMPRESSED_TEXT, b"\xff" * 9, length=20), 1007),
    "truncated message": (frame(COMPRESSED_TEXT, deflate_message(b"{}" * 100)[:-3]), 1007),
    "reference to the message before": (frame(COMPRESSED_TEXT, deflate_message(b"{}" * 99, zdict=b"{}" * 99)), 1007),
    "invalid UTF-8": (frame(COMPRESSED_TEXT, deflate_message(b"\xff")), 1007),
    "incomplete character": (frame(COMPRESSED_TEXT, deflate_message("Ж".encode()[:1])), 1007),
    "bomb": (frame(COMPRESSED_TEXT, deflate_message(b"x" * 30_000_000)), 1009),
    "one byte too many": (frame(COMPRESSED_TEXT, deflate_message(b"x" * 65537)), 1009),
    "fragmented bomb": (
        frame(COMPRESSED | TEXT, deflate_message(b"x" * 70_000)) + frame(CONTINUATION, b"\x00"),
        1009,
    ),
    "too big before decompression": (frame(COMPRESSED_TEXT, b"", length=65537), 1009),
}


@pytest.mark.parametrize("name", MALFORMED_COMPRESSED)
def test_malformed_compressed_frame_raises_its_code_and_ends_reading(name: str) -> None:
    malformed, code = MALFORMED_COMPRESSED[name]
    valid = frame(COMPRESSED_TEXT, deflate_message(b"{}" * 100), mask=b"abcd")
    assert read_texts([valid + malformed + valid]) == (["{}" * 100], code)


def test_compressed_binary_payload_is_not_decompressed() -> None:
    messages, code = read([frame(FINAL | COMPRESSED | BINARY, b"\xff" * 9)], extension=NO_CONTEXT)
    assert (len(messages), code) == (1, None)


def test_decompressed_size_counts_against_the_rate_limit() -> None:
    session = make_session(RateLimits(frames_per_second=1, bytes_per_second=1000))
    data = frame(COMPRESSED_TEXT, deflate_message(b"x" * 900), mask=b"abcd")
    assert read_texts([data] * 2, session=session) == (["x" * 900] * 2, None)
    assert read_texts([data], session=make_session(RateLimits(bytes_per_second=400))) == ([], None)
    session = make_session(RateLimits(bytes_per_second=1000))
    assert read_texts([data] * 9, session=session) == (["x" * 900] * 2, None)
    assert session.close_code is CloseCode.TOO_FAST
