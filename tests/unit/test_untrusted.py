"""Whatever strangers send, each function that reads it answers with a value or with its own error."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.framing import BREACH, FrameWatch
from gateway.peers import FORWARDED, counted_as, has_loopback_name, identify
from gateway.tokens import gate_of
from push.access import Grant, Refused, Role, parse_topics
from push.bucket import Bucket
from push.errors import BadCursor
from push.events import Cursor
from push.frames import Close
from push.sendqueue import SendQueue
from push.session import Pace, Session
from settings import Settings
from tests.fuzz.inputs import command, cursor
from tests.fuzz.octets import BINARY, CLOSE, CONTINUATION, FINAL, PING, TEXT, frame
from tests.fuzz.tokens import SECRET, odd

# With halves of surrogate pairs: JSON can hold them, and aiohttp makes them of bytes that are no UTF-8.
ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=200)
SEEDS = st.integers(0, 2**32).map(random.Random)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ANY_TEXT, inner, max_size=5),
    max_leaves=20,
)
ADDRESSES = st.ip_addresses().map(str) | ANY_TEXT


def session(pace: Pace | None = None) -> Session:
    session = Session(SendQueue(1000, 2**20), lambda: None, pace)
    session.grant = Grant(Role.ADMIN)
    return session


@given(
    ANY_TEXT
    | SEEDS.map(command)
    | st.builds(lambda name, more: json.dumps({**more, "type": name}), ANY_TEXT, st.dictionaries(ANY_TEXT, JSON))
    | st.builds(lambda name, topics: json.dumps({"type": name, "topics": topics}), st.just("subscribe"), JSON)
)
def test_a_message_is_answered_and_ends_nothing(text: str) -> None:
    box = session()
    box.receive_text(text)
    assert box.close is None
    for answer in box.take(2**20):
        assert json.loads(answer.decode())["type"]


def test_no_depth_of_nesting_is_more_than_a_message_that_is_not_understood() -> None:
    for depth in (*range(1, 1100), 30_000):
        for start, end in (("[", "]"), ('{"type":', "}"), ('{"type":"subscribe","topics":[', "]}")):
            box = session()
            box.receive_text(start + "[" * depth + "]" * depth + end)
            (answer,) = box.take(2**20)
            assert json.loads(answer)["type"] == "error", depth


@given(st.lists(JSON | st.from_regex("order:-?[0-9]{1,25}", fullmatch=True)))
def test_topics(names: list[Any]) -> None:
    try:
        topics = parse_topics(names)
    except ValueError:
        return
    assert topics == set(names)


@given(ANY_TEXT | SEEDS.map(lambda rng: cursor(rng, "deadbeef")))
def test_a_cursor(text: str) -> None:
    try:
        parsed = Cursor.parse(text)
    except BadCursor:
        return
    assert Cursor.parse(str(parsed)) == parsed


@given(ADDRESSES, st.booleans(), ANY_TEXT, st.dictionaries(st.sampled_from(FORWARDED), ANY_TEXT | ADDRESSES))
def test_who_asks(remote: str, secure: bool, host: str, headers: dict[str, str]) -> None:
    trusted = Settings.from_environment({"TRUSTED_PROXIES": "127.0.0.0/8,::1"}).trusted_proxies
    for networks in ((), trusted):
        peer = identify(remote, secure=secure, host=host, headers=headers, trusted=networks)
        assert isinstance(counted_as(peer.address), str)
        assert not (peer.is_loopback and peer.forwarded)
    assert has_loopback_name(host) in (True, False)


@pytest.mark.parametrize("seed", range(20))
async def test_a_token_is_good_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    gate, _ = gate_of(Settings.from_environment({"JWT_SECRET": SECRET}))
    for _ in range(500):
        token = odd(rng)
        try:
            grant = await gate.verify(token)
        except Refused:
            continue
        assert grant.role is not Role.ADMIN, token


# ---------------------------------------------------------------- frames

MASKS = st.binary(min_size=4, max_size=4)
FRAMES = st.lists(st.builds(lambda p, m: frame(FINAL | TEXT, p, mask=m), st.binary(max_size=70_000), MASKS), max_size=4)


def watch(*, frames: float = 1e12) -> FrameWatch:
    return FrameWatch(65536, session(Pace(frames=frames)).heard)


@given(FRAMES, st.lists(st.integers(0, 300_000)))
def test_frames_pass_the_watch_however_they_are_cut(frames: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(frames)
    ends = sorted({*(min(cut, len(whole)) for cut in cuts), len(whole)})
    parts = [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    watched = watch()
    assert b"".join(map(watched.feed, parts)) == whole


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_pass_alike_in_one_piece_and_in_two(data: bytes, cut: int) -> None:
    one, two = watch(), watch()
    assert one.feed(data) == two.feed(data[:cut]) + two.feed(data[cut:])


def test_what_the_parser_lets_pass_is_a_breach_all_the_same() -> None:
    good = frame(FINAL | TEXT, b"{}")
    for bad in (
        frame(FINAL | TEXT, b"{}", mask=None),
        frame(FINAL | PING, b"", mask=None),
        frame(FINAL | CLOSE, (1006).to_bytes(2, "big"), mask=b"abcd"),
    ):
        watched = watch()
        assert watched.feed(good + bad + good) == good + BREACH
        assert watched.feed(good) == b""
    # A first part that is empty.
    watched = watch()
    assert watched.feed(frame(TEXT, b"") + frame(FINAL | TEXT, b"{}")) == frame(TEXT, b"") + BREACH
    fine = (
        frame(TEXT, b"")
        + frame(FINAL | PING, b"")
        + frame(CONTINUATION, b"")
        + frame(FINAL, b"{}")
        + frame(FINAL | BINARY, b"")
    )
    assert watch().feed(fine) == fine


@pytest.mark.parametrize("part", [frame(TEXT, b""), frame(FINAL | PING, b""), frame(FINAL | TEXT, b"{}")])
def test_nothing_passes_after_the_last_frame_that_is_allowed(part: bytes) -> None:
    box = session(Pace(frames=10))
    watched = FrameWatch(65536, box.heard)
    more = part if part[0] & FINAL else frame(CONTINUATION, b"")
    assert watched.feed(part + more * 99) == part + more * 19  # the burst is two seconds' worth
    assert watched.feed(more) == b""
    assert box.close is Close.TOO_FAST


def test_the_bytes_of_parts_count_before_the_message_is_whole() -> None:
    box = session(Pace(bytes=1000))
    FrameWatch(65536, box.heard).feed(frame(TEXT, b"x" * 1500) + frame(CONTINUATION, b"x" * 1500))
    assert box.close is Close.TOO_FAST


def test_a_slow_pace_lets_one_pass() -> None:
    bucket = Bucket(0.1, 0.0)
    assert bucket.take(1, 0.0)
    assert not bucket.take(1, 9.0)
    assert bucket.take(1, 10.0)


def test_a_debt_is_a_burst_at_most() -> None:
    bucket = Bucket(10, 0.0)
    bucket.drain(1000)
    assert not bucket.take(1, 2.0)
    assert bucket.take(1, 2.1)
