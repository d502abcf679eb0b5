"""The bounded log of published events, and which positions it can answer."""

from __future__ import annotations

from push.journal.events import Event, Position, Snapshot
from push.journal.recent_events import RecentEvents
from tests.helpers.builders import make_event


def events(*txids: int, payload: bytes = b"{}") -> list[Event]:
    return [make_event(txid, txid, payload=payload) for txid in txids]


def started(max_events: int = 10, max_bytes: int = 1000) -> RecentEvents:
    """Empty, after a start at a snapshot that sees transactions up to 99."""
    recent = RecentEvents(max_events, max_bytes)
    recent.reset(Snapshot(100, 100))
    return recent


def publish(recent: RecentEvents, *txids: int) -> list[Event]:
    """One read that publishes these transactions, which are all up to the last one."""
    published = events(*txids)
    recent.append(published)
    recent.record_watermark(Snapshot(txids[-1] + 1, txids[-1] + 1))
    return published


def test_events_are_numbered_in_order_of_publication() -> None:
    recent = started()
    first = recent.next_seq
    published = publish(recent, 100, 101)
    assert recent.next_seq == first + 2
    assert recent.since(first) == published
    assert recent.since(first + 1) == published[1:]
    assert recent.since(first + 2) == []
    assert len(recent) == 2


def test_oldest_events_are_dropped_beyond_the_limit_on_events() -> None:
    recent = started(max_events=3)
    first = recent.next_seq
    published = publish(recent, 100, 101, 102, 103)
    assert len(recent) == 3
    assert not recent.has_since(first)
    assert recent.since(first) is None, "one of them is missing"
    assert recent.since(first + 1) == published[1:]
    assert recent.find(published[0].event_id) is None
    assert recent.find(published[1].event_id) is published[1]


def test_oldest_events_are_dropped_beyond_the_limit_on_bytes() -> None:
    recent = started(max_bytes=100)
    recent.append(events(100, 101, 102, payload=b"x" * 40))
    assert len(recent) == 2
    recent.append(events(103, payload=b"x" * 101))
    assert len(recent) == 0
    recent.append(events(104, payload=b"x" * 100))
    assert len(recent) == 1, "dropped events do not count"


def test_reset_invalidates_every_sequence_number_even_without_events() -> None:
    """A session between replay and going live must notice: the hub tells only sessions that are live."""
    recent = started()
    seq = recent.next_seq
    assert recent.since(seq) == []
    recent.reset(Snapshot(200, 200))
    assert recent.since(seq) is None
    assert recent.since(recent.next_seq) == []


def test_reset_forgets_events_and_watermarks() -> None:
    recent = started()
    (event,) = publish(recent, 100)
    recent.reset(Snapshot(200, 200))
    assert len(recent) == 0
    assert recent.find(event.event_id) is None
    assert recent.latest_ids(100) == []
    assert recent.missed(Position(Snapshot(101, 101))) is None
    assert recent.missed(Position(Snapshot(200, 200))) == []


def test_position_that_covers_a_watermark_misses_what_came_after_it() -> None:
    recent = started()
    publish(recent, 100, 101)
    later = publish(recent, 102, 103)
    assert recent.missed(Position(Snapshot(102, 102))) == later
    assert recent.missed(Position(Snapshot(103, 103))) == later[1:]
    assert recent.missed(Position(Snapshot(104, 104))) == []


def test_position_before_the_oldest_watermark_cannot_be_answered() -> None:
    assert started().missed(Position(Snapshot(99, 99))) is None


def test_position_that_saw_a_transaction_running_misses_its_events() -> None:
    recent = started()
    published = publish(recent, 101, 100)
    assert recent.missed(Position(Snapshot(100, 102, (100,)))) == published[1:]


def test_position_after_an_event_misses_later_rows_of_its_own_transaction() -> None:
    recent = started()
    rows = [make_event(100, id_) for id_ in (1, 2, 3)]
    recent.append(rows)
    recent.record_watermark(Snapshot(101, 101))
    assert recent.missed(Position(Snapshot(100, 100), 100, 1)) == rows[1:]


def test_watermark_that_sees_the_transaction_of_the_position_is_no_start() -> None:
    """Rows of that transaction may have come before that watermark."""
    recent = started(max_events=1)
    recent.append([make_event(100, id_) for id_ in (1, 2, 3)])
    recent.record_watermark(Snapshot(101, 101))
    assert recent.missed(Position(Snapshot(101, 101), 100, 1)) is None


def test_position_cannot_be_answered_once_the_events_after_its_watermark_are_dropped() -> None:
    recent = started(max_events=2)
    publish(recent, 100)
    publish(recent, 101)
    publish(recent, 102)
    assert recent.missed(Position(Snapshot(100, 100))) is None
    assert recent.missed(Position(Snapshot(101, 101))) == events(101, 102)


def test_older_watermark_is_kept_where_nothing_was_published_in_between() -> None:
    """It is covered by more positions."""
    recent = started()
    recent.record_watermark(Snapshot(150, 150))
    assert recent.missed(Position(Snapshot(100, 100))) == []


def test_latest_ids_are_those_of_the_newest_events_oldest_first() -> None:
    recent = started(max_events=30)
    publish(recent, *range(100, 120))
    assert [(event_id.txid, event_id.id) for event_id in recent.latest_ids(3)] == [(117, 117), (118, 118), (119, 119)]
    assert len(recent.latest_ids(100)) == 20


def test_only_what_came_after_the_newest_covered_watermark_is_compared_with_a_position() -> None:
    recent = started(max_events=100)
    for txid in range(100, 150):
        publish(recent, txid)
    last = publish(recent, 150, 151)
    assert recent.possibly_missed(Position(Snapshot(150, 150))) == last
    assert recent.possibly_missed(Position(Snapshot(151, 151))) == last
    assert recent.possibly_missed(Position(Snapshot(152, 152))) == []
    assert recent.possibly_missed(Position(Snapshot(149, 152, (149,)))) == events(149, 150, 151)


def test_newest_covered_watermark_is_found_by_halves() -> None:
    recent = started(max_events=1000)
    for txid in range(100, 900):
        publish(recent, txid)

    class CountingSnapshot(Snapshot):
        comparisons = 0

        def covers(self, other: Snapshot) -> bool:
            CountingSnapshot.comparisons += 1
            return super().covers(other)

    assert recent.possibly_missed(Position(CountingSnapshot(899, 899))) == events(899)
    assert CountingSnapshot.comparisons <= 11
