"""Snapshots, positions and cursors, compared with sets of transactions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.errors import BadCursor
from push.journal.events import Cursor, EventId, Position, Snapshot
from tests.fuzz.inputs import cursor
from tests.helpers.builders import make_event
from tests.helpers.strategies import ANY_TEXT, SEEDS

MAX_TXID = 12


@st.composite
def snapshots(draw: st.DrawFn) -> tuple[Snapshot, set[int]]:
    """A snapshot of transactions 0 to MAX_TXID, and the set of those that it sees."""
    xmax = draw(st.integers(0, MAX_TXID))
    xip = tuple(sorted(draw(st.sets(st.integers(0, xmax - 1))))) if xmax else ()
    return Snapshot(min(xip, default=xmax), xmax, xip), set(range(xmax)) - set(xip)


@given(snapshots())
def test_snapshot_sees_transactions_that_have_ended(drawn: tuple[Snapshot, set[int]]) -> None:
    snapshot, seen = drawn
    assert {txid for txid in range(MAX_TXID + 2) if snapshot.sees(txid)} == seen


@given(snapshots(), snapshots())
def test_snapshot_covers_another_if_it_sees_all_that_the_other_sees(
    a: tuple[Snapshot, set[int]], b: tuple[Snapshot, set[int]]
) -> None:
    assert a[0].covers(b[0]) == (a[1] >= b[1])


@given(snapshots(), st.integers(0, MAX_TXID), st.integers(0, 5), st.integers(0, MAX_TXID), st.integers(0, 5))
def test_position_misses_unseen_transactions_and_later_rows_of_its_own(
    drawn: tuple[Snapshot, set[int]], own: int, own_id: int, txid: int, id_: int
) -> None:
    snapshot, seen = drawn
    event = make_event(txid, id_)
    assert Position(snapshot).misses(event) == (txid not in seen)
    expected = id_ > own_id if txid == own else txid not in seen
    assert Position(snapshot, own, own_id).misses(event) == expected


@given(snapshots(), st.none() | st.integers(0, MAX_TXID), st.integers(0, 5), st.lists(st.integers(0, MAX_TXID)))
def test_position_is_missing_the_events_that_it_misses(
    drawn: tuple[Snapshot, set[int]], own: int | None, own_id: int, txids: list[int]
) -> None:
    position = Position(drawn[0], own, None if own is None else own_id)
    events = [make_event(txid, id_) for id_, txid in enumerate(txids)]
    assert position.missing(events) == [event for event in events if position.misses(event)]


class ComparedInt(int):
    """Counts the comparisons with it."""

    comparisons = 0

    def __lt__(self, other: int) -> bool:
        ComparedInt.comparisons += 1
        return int(self) < int(other)

    def __eq__(self, other: object) -> bool:
        ComparedInt.comparisons += 1
        return int(self) == other

    __hash__ = int.__hash__


def comparisons(look: Callable[[], object]) -> int:
    """How often ``look`` compares a ComparedInt."""
    ComparedInt.comparisons = 0
    look()
    return ComparedInt.comparisons


RUNNING = tuple(map(ComparedInt, range(1001, 2001)))
WIDE = Snapshot(1001, 5000, RUNNING)


def test_looking_for_a_transaction_does_not_go_through_all_that_run() -> None:
    for txid in (1001, 1500, 2000, 3000):
        assert comparisons(lambda txid=txid: WIDE.sees(txid)) <= 12  # type: ignore[misc]


def test_each_transaction_is_looked_for_once() -> None:
    events = [make_event(txid, id_) for id_ in range(100) for txid in (1500, 3000)]
    assert comparisons(lambda: Position(WIDE).missing(events)) <= 2 * 12


EPOCHS = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
NUMBERS = st.integers(0, 10**18 - 1)
SNAPSHOTS = st.lists(st.integers(1, 10**18 - 1), min_size=2, max_size=7, unique=True).map(
    lambda drawn: Snapshot(min(drawn), max(drawn), tuple(sorted(drawn)[1:-1]))
)
EVENTS = st.builds(EventId, NUMBERS, NUMBERS, NUMBERS)
WITNESSES = st.none() | EVENTS
CURSORS = st.one_of(
    st.tuples(EPOCHS, EVENTS),
    st.tuples(EPOCHS, SNAPSHOTS, st.none(), st.just(0), WITNESSES),
    st.tuples(EPOCHS, EVENTS | SNAPSHOTS, SNAPSHOTS, NUMBERS, WITNESSES),
)


@given(CURSORS)
def test_cursor_is_equal_after_formatting_and_parsing(parts: Any) -> None:
    cursor = Cursor(*parts)
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "0123abcd", "0123abcd-1", "0123abcd-1-1", "0123abcd-1-1-", "0123ABCD-1-1-1", "0123abc-1-1-1"),
        *("0123abcd--1-1-1", "0123abcd-1-1-1-1", " 0123abcd-1-1-1", "0123abcd-1-1-1\n", "0123abcd-1-1-" + "9" * 19),
        *("0123abcd-" + "9" * 20 + "-1-1", "0123abcd-\u0661-1-1", "0123abcd-s1", "0123abcd-s1.2.", "0123abcd-p1-1-1"),
        *("0123abcd-p1-1-1_1-1-1_5", "0123abcd-p1-1-1_s1.2_", "0123abcd-s1.2_3", "0123abcd-1-1-1~1-1-1", "0123abcd-s1.2~1-1"),
    ],
)
def test_other_texts_are_rejected(text: str) -> None:
    with pytest.raises(BadCursor):
        Cursor.parse(text)


@given(snapshots(), st.integers(0, MAX_TXID))
def test_capped_snapshot_sees_nothing_from_the_cap_on(drawn: tuple[Snapshot, set[int]], xmax: int) -> None:
    snapshot, seen = drawn
    capped = snapshot.capped_at(xmax)
    assert {txid for txid in range(MAX_TXID + 2) if capped.sees(txid)} == {txid for txid in seen if txid < xmax}
    assert snapshot.covers(capped)
    assert capped.xmin <= capped.xmax


@pytest.mark.parametrize("text", ["s0.5", "s5.4", "s5.5.5", "s5.9.5.5", "s5.9.8.7", "s5.9.9", "s5.9.4"])
def test_snapshots_that_postgresql_would_reject_are_rejected(text: str) -> None:
    with pytest.raises(BadCursor):
        Cursor.parse(f"0123abcd-{text}")


@given(ANY_TEXT | SEEDS.map(lambda rng: cursor(rng, "deadbeef")))
def test_any_text_is_rejected_or_is_a_cursor_that_can_be_formatted_and_parsed(text: str) -> None:
    try:
        parsed = Cursor.parse(text)
    except BadCursor:
        return
    assert Cursor.parse(str(parsed)) == parsed
