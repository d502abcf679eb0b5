"""permessage-deflate: what is agreed on, and what a client's compressed messages are."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.websocket.permessage_deflate import (
    BadDeflate,
    BadExtensions,
    Inflater,
    MessageTooBig,
    negotiate_extension,
    parse_extension_offers,
)
from push.delivery.rate_limit import RateLimits
from push.protocol.messages import CloseCode
from tests.fuzz.octets import BINARY, COMPRESSED, CONTINUATION, FINAL, PING, TEXT, deflate_message, frame
from tests.unit.gateway.websocket.test_untrusted_input import cut, read, session

AGREED = "permessage-deflate; client_no_context_takeover"
OFFERS = {
    "permessage-deflate": AGREED,
    "x-other; a=b, permessage-deflate": AGREED,
    "permessage-deflate; client_max_window_bits": AGREED,
    "permessage-deflate; client_max_window_bits=8": AGREED,
    'permessage-deflate; client_max_window_bits="15"': AGREED,
    "permessage-deflate ;client_no_context_takeover;client_max_window_bits = 9 ": AGREED,
    "permessage-deflate; server_max_window_bits=15": f"{AGREED}; server_max_window_bits=15",
    r'permessage-deflate; server_max_window_bits="\15"': f"{AGREED}; server_max_window_bits=15",
    "permessage-deflate; server_max_window_bits=10, permessage-deflate": AGREED,
    ",, permessage-deflate,": AGREED,
    "": None,
    "x-webkit-deflate-frame": None,
    "Permessage-Deflate": None,
    "permessage-deflate; server_max_window_bits=14": None,
    "permessage-deflate; server_max_window_bits": None,
    "permessage-deflate; server_max_window_bits=015": None,
    "permessage-deflate; server_no_context_takeover": None,
    "permessage-deflate; client_no_context_takeover=1": None,
    "permessage-deflate; client_max_window_bits=7": None,
    "permessage-deflate; client_max_window_bits=16": None,
    "permessage-deflate; client_max_window_bits=08": None,
    "permessage-deflate; client_max_window_bits; client_max_window_bits": None,
    "permessage-deflate; unknown": None,
}
MALFORMED = (
    ";",
    "permessage-deflate;",
    "a b",
    "a; b=",
    "a; =b",
    'a; b="',
    'a; b=""',
    'a; b="c d"',
    "a; b=c=d",
    "\xff",
    "a\x00",
)


@pytest.mark.parametrize("header", OFFERS)
def test_an_offer_is_taken_or_not(header: str) -> None:
    assert negotiate_extension(parse_extension_offers([header])) == OFFERS[header]
    assert negotiate_extension(parse_extension_offers(header.split(","))) == OFFERS[header]


@pytest.mark.parametrize("header", MALFORMED)
def test_what_is_no_offer_is_no_handshake(header: str) -> None:
    with pytest.raises(BadExtensions):
        list(parse_extension_offers(["permessage-deflate", header]))


@given(st.text(max_size=60) | st.lists(st.sampled_from([*OFFERS, *MALFORMED, ";", "=", '"', ","])).map("".join))
def test_any_header_is_read(header: str) -> None:
    try:
        answer = negotiate_extension(parse_extension_offers([header]))
    except BadExtensions:
        return
    assert answer is None or answer.startswith(AGREED)


# ---------------------------------------------------------------- messages

# Section 7.2.3, all of them "Hello"; and the empty message.
EXAMPLES = {
    "f248cdc9c90700": b"Hello",
    "000500faff48656c6c6f00": b"Hello",
    "f348cdc9c9070000": b"Hello",
    "f24805000000ffffcac9c90700": b"Hello",
    "00": b"",
}
BAD = {
    "nothing": "",
    "reserved type of block": "07",
    "half a block": "f248cdc9c9",
    "half a stored block": "000500faff4865",
    "a stored block that swallows more than the tail": "000500faff",
    "a reference to before the beginning": "0284000000",
    "more behind the last block": "f348cdc9c9070000f248cdc9c90700",
    "more than one byte behind the last block": "f348cdc9c907000000",
}


@pytest.mark.parametrize("message", EXAMPLES)
def test_the_examples_of_the_rfc(message: str) -> None:
    whole, plain = bytes.fromhex(message), EXAMPLES[message]
    for most in (5, 6, 1000):
        assert Inflater(most).inflate(whole, final=True) == plain
        one = Inflater(most)
        pieces = [one.inflate(whole[n : n + 1], final=n == len(whole) - 1) for n in range(len(whole))]
        assert b"".join(pieces) == plain


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_deflate(name: str) -> None:
    with pytest.raises(BadDeflate):
        Inflater(1000).inflate(bytes.fromhex(BAD[name]), final=True)


@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FINISH])
def test_a_message_is_never_larger_than_it_may_be(flush: int) -> None:
    for size in (999, 1000, 1001, 100_000_000):
        bomb = deflate_message(b"x" * size, flush)
        if size <= 1000:
            assert Inflater(1000).inflate(bomb, final=True) == b"x" * size
            continue
        with pytest.raises(MessageTooBig):
            Inflater(1000).inflate(bomb, final=True)


def test_the_end_of_a_message_counts_too() -> None:
    # A stored block of four bytes: by the letter, these are the ones that the receiver adds.
    sly = bytes.fromhex("000400fbff")
    assert Inflater(4).inflate(sly, final=True) == b"\x00\x00\xff\xff"
    with pytest.raises(MessageTooBig):
        Inflater(3).inflate(sly, final=True)


def texts_of(parts: Any, **more: Any) -> tuple[list[str], int | None]:
    messages, breach = read(parts, compression=True, **more)
    return [message.text for message in messages if message.opcode == TEXT], breach


@given(
    st.lists(st.tuples(st.text(max_size=3000), st.booleans(), st.integers(1, 5)), max_size=4),
    st.lists(st.integers(0, 4000), max_size=9),
)
def test_compressed_and_plain_messages_in_parts_however_they_are_cut(
    sent: list[tuple[str, bool, int]], cuts: list[int]
) -> None:
    whole = b""
    for text, compress, number in sent:
        payload = deflate_message(text.encode()) if compress else text.encode()
        parts = cut(payload, [n * len(payload) // number for n in range(1, number)])
        for n, part in enumerate(parts):
            head = TEXT | (COMPRESSED if compress else 0) if n == 0 else CONTINUATION
            whole += frame(head | (FINAL if n == len(parts) - 1 else 0), part, mask=b"abcd") + frame(FINAL | PING, b"")
    assert texts_of(cut(whole, cuts)) == ([text for text, _, _ in sent], None)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_read_alike_in_one_piece_and_in_any(data: bytes, at: int) -> None:
    sent = frame(FINAL | COMPRESSED | TEXT, data, mask=b"abcd")
    assert texts_of([sent]) == texts_of([sent[:at], sent[at:]]) == texts_of(sent[n : n + 1] for n in range(len(sent)))


HEAD = FINAL | COMPRESSED | TEXT
BREACHES = {
    "another reserved bit with it": (frame(HEAD | 0x20, deflate_message(b"{}")), 1002),
    "another reserved bit": (frame(FINAL | TEXT | 0x10, b"{}"), 1002),
    "a compressed ping": (frame(FINAL | COMPRESSED | PING, b""), 1002),
    "a compressed part": (frame(COMPRESSED | TEXT, deflate_message(b"{}")) + frame(FINAL | COMPRESSED, b""), 1002),
    "no deflate": (frame(HEAD, b"{}"), 1007),
    "no deflate in what has come of a frame": (frame(HEAD, b"\xff" * 9, length=20), 1007),
    "a message cut short": (frame(HEAD, deflate_message(b"{}" * 100)[:-3]), 1007),
    "it refers to the message before": (frame(HEAD, deflate_message(b"{}" * 99, zdict=b"{}" * 99)), 1007),
    "no UTF-8 in it": (frame(HEAD, deflate_message(b"\xff")), 1007),
    "no UTF-8 at the end of it": (frame(HEAD, deflate_message("Ж".encode()[:1])), 1007),
    "a bomb": (frame(HEAD, deflate_message(b"x" * 30_000_000)), 1009),
    "a byte too many": (frame(HEAD, deflate_message(b"x" * 65537)), 1009),
    "a bomb in parts": (frame(COMPRESSED | TEXT, deflate_message(b"x" * 70_000)) + frame(CONTINUATION, b"\x00"), 1009),
    "too much before it is inflated": (frame(HEAD, b"", length=65537), 1009),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_has_its_code_and_nothing_is_read_after_it(name: str) -> None:
    bad, code = BREACHES[name]
    good = frame(HEAD, deflate_message(b"{}" * 100), mask=b"abcd")
    assert texts_of([good + bad + good]) == (["{}" * 100], code)


def test_nobody_inflates_what_is_binary() -> None:
    messages, breach = read([frame(FINAL | COMPRESSED | BINARY, b"\xff" * 9)], compression=True)
    assert (len(messages), breach) == (1, None)


def test_what_inflating_adds_counts_against_the_pace() -> None:
    box = session(RateLimits(frames_per_second=1, bytes_per_second=1000))
    one = frame(HEAD, deflate_message(b"x" * 900), mask=b"abcd")
    assert texts_of([one] * 2, box=box) == (["x" * 900] * 2, None)
    assert texts_of([frame(HEAD, deflate_message(b"x" * 900))], box=session(RateLimits(bytes_per_second=400))) == ([], None)
    box = session(RateLimits(bytes_per_second=1000))
    assert texts_of([one] * 9, box=box) == (["x" * 900] * 2, None)
    assert box.close_code is CloseCode.TOO_FAST
