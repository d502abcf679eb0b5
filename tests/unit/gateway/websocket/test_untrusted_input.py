"""Whatever strangers send, each function that reads it answers with a value or with its own error."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.tokens import verifier_from_settings
from gateway.net.client_address import FORWARDING_HEADERS, is_loopback_host, rate_limit_key, resolve_peer
from gateway.websocket.frames import FrameReader, Message, ProtocolError, close_frame, text_frames
from push.delivery.rate_limit import RateLimits
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.protocol.access import AccessDenied, Grant, Role
from push.protocol.messages import CloseCode
from settings import Settings
from tests.fuzz.octets import BINARY, CLOSE, CONTINUATION, FINAL, PING, TEXT, frame, split_frames
from tests.fuzz.tokens import SECRET, odd_token
from tests.helpers.fake_transport import FakeTransport
from tests.helpers.strategies import ANY_TEXT

ADDRESSES = st.ip_addresses().map(str) | ANY_TEXT


def session(pace: RateLimits | None = None) -> Session:
    session = Session(SendQueue(1000, 2**20), FakeTransport(), pace)
    session.grant = Grant(Role.ADMIN)
    return session


@given(ADDRESSES, st.booleans(), ANY_TEXT, st.dictionaries(st.sampled_from(FORWARDING_HEADERS), ANY_TEXT | ADDRESSES))
def test_who_asks(remote: str, secure: bool, host: str, headers: dict[str, str]) -> None:
    trusted = Settings.from_environment({"TRUSTED_PROXIES": "127.0.0.0/8,::1"}).trusted_proxies
    for networks in ((), trusted):
        peer = resolve_peer(remote, secure=secure, host=host, headers=headers, trusted=networks)
        assert isinstance(rate_limit_key(peer.address), str)
        assert not (peer.is_loopback and peer.via_untrusted_proxy)
    assert is_loopback_host(host) in (True, False)


@pytest.mark.parametrize("seed", range(20))
async def test_a_token_is_good_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    gate, _ = verifier_from_settings(Settings.from_environment({"JWT_SECRET": SECRET}))
    for _ in range(500):
        token = odd_token(rng)
        try:
            grant = await gate.verify(token)
        except AccessDenied:
            continue
        assert grant.role is not Role.ADMIN, token


# ---------------------------------------------------------------- frames

MASKS = st.binary(min_size=4, max_size=4)
FRAME_LIKE = st.builds(lambda h, p, m: frame(h, p, mask=m), st.integers(0, 255), st.binary(max_size=130), MASKS)


def read(
    parts: Iterable[bytes], box: Session | None = None, most_bytes: int = 65536, *, compression: bool = False
) -> tuple[list[Message], int | None]:
    """All messages, and the code of the breach that ended it."""
    reader, messages = FrameReader(most_bytes, compression=compression), []
    try:
        for part in parts:
            reader.feed(part)
            while (message := reader.next_message((box or session()).charge_rate_limit)) is not None:
                messages.append(message)
    except ProtocolError as breach:
        assert reader.closed
        return messages, breach.code
    return messages, None


def cut(whole: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({*(min(at, len(whole)) for at in cuts), len(whole)})
    return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(st.lists(st.tuples(st.text(max_size=20_000), MASKS), max_size=4), st.lists(st.integers(0, 100_000)))
def test_texts_are_read_however_they_are_cut(texts: list[tuple[str, bytes]], cuts: list[int]) -> None:
    whole = b"".join(frame(FINAL | TEXT, text.encode(), mask=mask) for text, mask in texts)
    messages, breach = read(cut(whole, cuts), most_bytes=100_000)
    assert [message.text for message in messages] == [text for text, _ in texts]
    assert breach is None


@given(st.lists(st.text(max_size=300), min_size=1, max_size=4), st.lists(st.integers(0, 1500), max_size=9))
def test_a_message_in_parts_with_pings_between_them_is_one(texts: list[str], cuts: list[int]) -> None:
    whole = "".join(texts)
    parts = cut(whole.encode(), cuts)  # in the midst of letters too
    sent = b"".join(
        frame((TEXT if n == 0 else CONTINUATION) | (FINAL if n == len(parts) - 1 else 0), part, mask=b"abcd")
        + frame(FINAL | PING, b"%d" % n, mask=b"efgh")
        for n, part in enumerate(parts)
    )
    messages, breach = read(cut(sent, cuts))
    assert breach is None
    assert [message.text for message in messages if message.opcode == TEXT] == [whole]
    assert [message.payload for message in messages if message.opcode == PING] == [b"%d" % n for n in range(len(parts))]


@given(st.binary(max_size=300) | st.lists(FRAME_LIKE, max_size=4).map(b"".join), st.integers(0, 300))
def test_any_bytes_are_read_alike_in_one_piece_and_in_any(data: bytes, at: int) -> None:
    assert read([data]) == read([data[:at], data[at:]]) == read(data[n : n + 1] for n in range(len(data)))


GOOD = frame(FINAL | TEXT, b"{}", mask=b"abcd")
BREACHES = {
    "no mask": (frame(FINAL | TEXT, b"{}", mask=None), 1002),
    "no mask on a ping": (frame(FINAL | PING, b"", mask=None), 1002),
    "reserved bit": (frame(FINAL | TEXT | 0x40, b""), 1002),
    "unknown opcode": (frame(FINAL | 0x3, b""), 1002),
    "unknown control opcode": (frame(FINAL | 0xB, b""), 1002),
    "a long ping": (frame(FINAL | PING, bytes(126)), 1002),
    "a ping in parts": (frame(PING, b""), 1002),
    "a part of nothing": (frame(FINAL | CONTINUATION, b""), 1002),
    "a message within another": (frame(TEXT, b"{") + frame(FINAL | TEXT, b"}"), 1002),
    "a message within another that is empty": (frame(TEXT, b"") + frame(FINAL | TEXT, b"}"), 1002),
    "a length in more bytes than it needs": (bytes((FINAL | TEXT, 0x80 | 126, 0, 125)) + bytes(4), 1002),
    "a length in eight bytes": (bytes((FINAL | TEXT, 0x80 | 127)) + (65535).to_bytes(8, "big") + bytes(4), 1002),
    "a negative length": (bytes((FINAL | TEXT, 0x80 | 127)) + b"\xff" * 8 + bytes(4), 1002),
    "too much is announced": (frame(FINAL | TEXT, b"", length=65537), 1009),
    "too much in parts": (frame(TEXT, bytes(40_000)) + frame(CONTINUATION, b"", length=40_000), 1009),
    "no UTF-8": (frame(FINAL | TEXT, b"\xff"), 1007),
    "half a letter": (frame(FINAL | TEXT, "Ж".encode()[:1]), 1007),
    "half a letter before the last part": (frame(TEXT, "Ж".encode()[:1]) + frame(FINAL | CONTINUATION, b""), 1007),
    "a surrogate": (frame(FINAL | TEXT, b"\xed\xa0\x80"), 1007),
    "no UTF-8 in what has come of a frame": (frame(FINAL | TEXT, b"\xff", length=2), 1007),
    "half a close code": (frame(FINAL | CLOSE, b"x"), 1002),
    "a reason that is no UTF-8": (frame(FINAL | CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    **{
        f"close code {code}": (frame(FINAL | CLOSE, code.to_bytes(2, "big"), mask=b"abcd"), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    },
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_has_its_code_and_nothing_is_read_after_it(name: str) -> None:
    bad, code = BREACHES[name]
    assert read([GOOD + bad + GOOD]) == ([Message(TEXT, text="{}")], code)


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
def test_a_goodbye_is_the_last_that_is_read(code: int) -> None:
    goodbye = frame(FINAL | CLOSE, code.to_bytes(2, "big") + "tschüss".encode(), mask=b"abcd")
    assert read([goodbye + GOOD, GOOD]) == ([Message(CLOSE, code=code)], None)
    assert read([frame(FINAL | CLOSE, b"")]) == ([Message(CLOSE, code=1005)], None)


def test_nothing_but_the_size_of_what_is_binary_matters() -> None:
    assert read([frame(BINARY, b"\xff") + frame(FINAL | CONTINUATION, b"\xff")]) == ([Message(BINARY)], None)


@pytest.mark.parametrize("part", [frame(TEXT, b""), frame(FINAL | PING, b""), frame(FINAL | TEXT, b"{}")])
def test_nothing_is_read_after_the_last_frame_that_is_allowed(part: bytes) -> None:
    box = session(RateLimits(frames_per_second=10))
    more = part if part[0] & FINAL else frame(CONTINUATION, b"")
    messages, breach = read([part + more * 99, GOOD], box)
    assert breach is None
    assert len(messages) == (20 if part[0] & FINAL else 0)  # the burst is two seconds' worth
    assert box.close_code is CloseCode.TOO_FAST


def test_the_bytes_of_parts_count_before_the_message_is_whole() -> None:
    box = session(RateLimits(bytes_per_second=1000))
    read([frame(TEXT, b"x" * 1500) + frame(CONTINUATION, b"x" * 1500)], box)
    assert box.close_code is CloseCode.TOO_FAST


@given(st.lists(st.binary(max_size=70_000), max_size=5), st.integers(3000, 4999), ANY_TEXT)
def test_what_is_written_is_read_back(payloads: list[bytes], code: int, reason: str) -> None:
    ping = payloads[-1] if payloads else None
    told = list(split_frames(text_frames(payloads, ping_after=ping)))
    assert [payload for head, payload in told if head == FINAL | TEXT] == payloads
    assert [
        after for (head, payload), (after, _) in pairwise([*told, (0, b"")]) if head == FINAL | TEXT and payload == ping
    ] == [FINAL | PING] * payloads.count(payloads[-1] if payloads else b"")
    ((head, payload),) = split_frames(close_frame(code, reason))
    assert head == FINAL | CLOSE
    assert len(payload) <= 125
    assert int.from_bytes(payload[:2], "big") == code
    assert reason.encode(errors="replace").decode().startswith(payload[2:].decode())
