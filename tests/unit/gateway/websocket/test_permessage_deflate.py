"""gateway.websocket.permessage_deflate: which offers are accepted, and decompression of a client's messages."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.websocket.permessage_deflate import (
    Agreement,
    BadDeflate,
    BadExtensions,
    Inflater,
    MessageTooBig,
    WindowBudget,
    negotiate_extension,
    parse_extension_offers,
)
from tests.helpers.websocket_frames import deflate_message

PLAIN = "permessage-deflate"
# Offers, the answer, and the window to keep for the client in bytes. The answer has what was offered, and nothing else.
ANSWERS: dict[str, tuple[str, int]] = {
    "permessage-deflate": (PLAIN, 32768),
    "x-other; a=b, permessage-deflate": (PLAIN, 32768),
    "permessage-deflate; client_max_window_bits": (f"{PLAIN}; client_max_window_bits=9", 512),
    "permessage-deflate; client_max_window_bits=8": (f"{PLAIN}; client_max_window_bits=8", 256),
    'permessage-deflate; client_max_window_bits="15"': (f"{PLAIN}; client_max_window_bits=9", 512),
    "permessage-deflate; client_no_context_takeover": (f"{PLAIN}; client_no_context_takeover", 0),
    "permessage-deflate ;client_max_window_bits = 9 ;client_no_context_takeover": (
        f"{PLAIN}; client_no_context_takeover; client_max_window_bits=9",
        0,
    ),
    "permessage-deflate; server_max_window_bits=15": (f"{PLAIN}; server_max_window_bits=15", 32768),
    r'permessage-deflate; server_max_window_bits="\15"': (f"{PLAIN}; server_max_window_bits=15", 32768),
    "permessage-deflate; server_max_window_bits=10, permessage-deflate": (PLAIN, 32768),
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover, permessage-deflate; client_max_window_bits": (
        f"{PLAIN}; client_max_window_bits=9",
        512,
    ),
    ",, permessage-deflate,": (PLAIN, 32768),
}
OFFERS: dict[str, Agreement | None] = {
    **{offer: Agreement(*answer) for offer, answer in ANSWERS.items()},
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
def test_offer_is_accepted_or_declined(header: str) -> None:
    assert negotiate_extension(parse_extension_offers([header])) == OFFERS[header]
    assert negotiate_extension(parse_extension_offers(header.split(","))) == OFFERS[header]


@pytest.mark.parametrize("header", MALFORMED)
def test_malformed_header_raises(header: str) -> None:
    with pytest.raises(BadExtensions):
        list(parse_extension_offers(["permessage-deflate", header]))


@given(st.text(max_size=60) | st.lists(st.sampled_from([*OFFERS, *MALFORMED, ";", "=", '"', ","])).map("".join))
def test_arbitrary_header_is_negotiated_or_raises(header: str) -> None:
    try:
        response = negotiate_extension(parse_extension_offers([header]))
    except BadExtensions:
        return
    assert response is None or response.response.startswith(PLAIN)


def test_further_clients_are_not_given_the_extension_beyond_the_bound_on_windows() -> None:
    budget = WindowBudget(33_000)
    large, small, none = Agreement("", 32768), Agreement("", 128), Agreement("", 0)
    assert budget.has_room(large)
    release_large = budget.reserve(large)
    assert [budget.has_room(each) for each in (large, small, none)] == [False, True, True]
    release_small = budget.reserve(small)
    assert [budget.has_room(each) for each in (large, small, none)] == [False, False, True]
    release_small()
    release_large()
    assert budget.has_room(large)


# ---------------------------------------------------------------- messages

# Section 7.2.3, all of them "Hello"; and an empty message.
EXAMPLES = {
    "f248cdc9c90700": b"Hello",
    "000500faff48656c6c6f00": b"Hello",
    "f348cdc9c9070000": b"Hello",
    "f24805000000ffffcac9c90700": b"Hello",
    "00": b"",
}
INVALID = {
    "empty": "",
    "reserved block type": "07",
    "incomplete block": "f248cdc9c9",
    "incomplete stored block": "000500faff4865",
    "stored block longer than the removed tail": "000500faff",
    "reference to before the start": "0284000000",
    "data after the final block": "f348cdc9c9070000f248cdc9c90700",
    "more than one byte after the final block": "f348cdc9c907000000",
}


@pytest.mark.parametrize("message", EXAMPLES)
def test_examples_of_the_rfc_are_decompressed(message: str) -> None:
    data, plain = bytes.fromhex(message), EXAMPLES[message]
    for max_bytes in (5, 6, 1000):
        assert Inflater(max_bytes).inflate(data, final=True) == plain
        inflater = Inflater(max_bytes)
        parts = [inflater.inflate(data[n : n + 1], final=n == len(data) - 1) for n in range(len(data))]
        assert b"".join(parts) == plain


@pytest.mark.parametrize("name", INVALID)
def test_invalid_data_raises(name: str) -> None:
    with pytest.raises(BadDeflate):
        Inflater(1000).inflate(bytes.fromhex(INVALID[name]), final=True)


@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FINISH])
def test_message_larger_than_the_limit_raises(flush: int) -> None:
    for size in (999, 1000, 1001, 100_000_000):
        bomb = deflate_message(b"x" * size, flush)
        if size <= 1000:
            assert Inflater(1000).inflate(bomb, final=True) == b"x" * size
            continue
        with pytest.raises(MessageTooBig):
            Inflater(1000).inflate(bomb, final=True)


def test_last_bytes_of_a_message_count_against_the_limit() -> None:
    # A stored block of four bytes without its data: its data are the four bytes that the receiver appends.
    data = bytes.fromhex("000400fbff")
    assert Inflater(4).inflate(data, final=True) == b"\x00\x00\xff\xff"
    with pytest.raises(MessageTooBig):
        Inflater(3).inflate(data, final=True)
