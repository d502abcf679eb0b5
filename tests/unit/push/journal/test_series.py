"""Buckets and compared days, on the clocks of time zones; and the sums of a count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.journal.events import Cursor, Snapshot
from push.journal.series import (
    LOOKAHEAD,
    Interval,
    OrderCounts,
    OrderGroup,
    Period,
    StatusSums,
    bucket_bounds,
    compared_days,
    count_bounds,
)

WARSAW = ZoneInfo("Europe/Warsaw")
# With a quarter of an hour, half an hour of daylight saving time, a change at midnight, and a day that never was.
ZONES = [
    *("UTC", "Europe/Warsaw", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana"),
    *("Pacific/Apia", "Pacific/Chatham", "Asia/Beirut"),
]
COUNTS = {Period.HOUR: 60, Period.DAY: 96, Period.WEEK: 84}

zones = st.sampled_from(ZONES).map(ZoneInfo)
moments = st.datetimes(datetime(2011, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text + "+00:00")


@given(st.sampled_from(Period), zones, moments)
def test_buckets_follow_on_one_another_and_the_last_one_has_the_present(period: Period, zone: tzinfo, now: datetime) -> None:
    bounds = bucket_bounds(period, zone, now)
    assert len(bounds) == COUNTS[period] + 1
    assert all(start < end for start, end in pairwise(bounds))
    assert bounds[-2] <= now < bounds[-1]
    # Where a clock is put forward by more than an hour (a day, in Apia), a bucket can begin anywhere.
    if period is not Period.WEEK or zone.key != "Pacific/Apia":  # type: ignore[attr-defined]
        for bound in bounds:
            local = bound.astimezone(zone)
            changed = local.utcoffset() != (bound - timedelta(minutes=61)).astimezone(zone).utcoffset()
            aligned = {Period.HOUR: True, Period.DAY: local.minute % 15 == 0, Period.WEEK: local.hour % 2 == local.minute == 0}
            assert local.second == 0
            assert aligned[period] or changed, local


@given(zones, moments, st.integers(0, int(LOOKAHEAD.total_seconds())))
def test_a_count_has_the_bounds_of_all_buckets_until_it_is_too_old(zone: tzinfo, now: datetime, seconds: int) -> None:
    bounds = count_bounds(zone, now)
    assert bounds == sorted(set(bounds))
    for period in Period:
        assert set(bucket_bounds(period, zone, now + timedelta(seconds=seconds))) <= set(bounds)
    for day in compared_days(zone, now).values():
        assert set(day) <= set(bounds)


def widths(bounds: list[datetime]) -> list[tuple[str, float]]:
    """Where a bucket is not two hours long: its start on Warsaw's clock, and its hours."""
    found = [(start, (end - start) / timedelta(hours=1)) for start, end in pairwise(bounds)]
    return [(f"{start.astimezone(WARSAW):%d. %H:%M}", hours) for start, hours in found if hours != 2]


def test_a_bucket_is_shorter_where_the_clock_is_put_forward_and_longer_where_it_is_put_back() -> None:
    spring = bucket_bounds(Period.WEEK, WARSAW, utc("2026-03-31T10:00:00"))
    assert widths(spring) == [("29. 03:00", 1.0)]
    assert (spring[0], spring[-1]) == (utc("2026-03-24T13:00:00"), utc("2026-03-31T12:00:00"))
    autumn = bucket_bounds(Period.WEEK, WARSAW, utc("2026-10-27T10:00:00"))
    assert widths(autumn) == [("25. 02:00", 3.0)]
    assert (autumn[0], autumn[-1]) == (utc("2026-10-20T10:00:00"), utc("2026-10-27T11:00:00"))
    summer = bucket_bounds(Period.WEEK, WARSAW, utc("2026-07-07T10:00:00"))
    assert widths(summer) == []
    assert (summer[0], summer[-1]) == (utc("2026-06-30T12:00:00"), utc("2026-07-07T12:00:00"))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # Warsaw is two hours ahead in summer.
        ("2026-07-08T10:30:00", {"today": 12.5, "yesterday": 12.5, "last_week": 12.5}),
        # Until a quarter to four: on the day of the change one hour less had passed, or one more.
        ("2026-03-29T01:45:00", {"today": 2.75, "yesterday": 3.75, "last_week": 3.75}),
        ("2026-03-30T01:45:00", {"today": 3.75, "yesterday": 2.75, "last_week": 3.75}),
        ("2026-10-26T02:45:00", {"today": 3.75, "yesterday": 4.75, "last_week": 3.75}),
        ("2026-11-01T02:45:00", {"today": 3.75, "yesterday": 3.75, "last_week": 4.75}),
        # A time of day that yesterday did not have counts as the hour after it.
        ("2026-03-30T00:30:00", {"today": 2.5, "yesterday": 2.5, "last_week": 2.5}),
        # Midnight.
        ("2026-07-07T22:00:00", {"today": 0.0, "yesterday": 0.0, "last_week": 0.0}),
    ],
)
def test_compared_days_go_to_the_same_time_on_the_clock(now: str, expected: dict[str, float]) -> None:
    days = compared_days(WARSAW, utc(now))
    assert {name: (end - start) / timedelta(hours=1) for name, (start, end) in days.items()} == expected
    assert days["today"].end == utc(now)
    assert all(day.start.astimezone(WARSAW).strftime("%H:%M") == "00:00" for day in days.values())


def cursor(xmax: int) -> Cursor:
    return Cursor("5f0c12ab", Snapshot(xmax, xmax))


def counts(*groups: tuple[str, str, int, int, str], now: datetime | None = None) -> OrderCounts:
    now = now or utc("2026-07-08T10:30:20")
    made = [
        OrderGroup(status, currency, interval, orders, Decimal(revenue))
        for status, currency, interval, orders, revenue in groups
    ]
    return OrderCounts(now, count_bounds(WARSAW, now), made, cursor(7))


def test_sums_are_by_status_and_leave_out_what_is_nothing() -> None:
    found = counts(
        ("ready", "EUR", 0, 2, "1.50"),
        ("ready", "", 3, 1, "2"),
        ("ready", "PLN", 3, 1, "0"),
        ("void", "EUR", 3, 1, "0.00"),
    )
    assert found.by_status() == {
        "ready": StatusSums(4, {"": Decimal(2), "EUR": Decimal("1.50")}),
        "void": StatusSums(1, {}),
    }
    assert found.orders == 5


def test_changes_are_added_exactly_and_what_becomes_nothing_disappears() -> None:
    large = "123456789012345678901234.00000000000000000001"
    before = counts(("ready", "", 3, 1, large), ("done", "", 3, 1, "5"))
    changes = [OrderGroup("ready", "", 3, 1, Decimal("0.1")), OrderGroup("done", "", 3, -1, Decimal(-5))]
    after = before.plus(changes, cursor(9))
    assert after.groups == [OrderGroup("ready", "", 3, 2, Decimal("123456789012345678901234.10000000000000000001"))]
    assert (after.position, after.now, after.bounds) == (cursor(9), before.now, before.bounds)


@pytest.mark.parametrize("period", Period)
def test_each_interval_is_in_one_bucket_and_those_outside_are_in_none(period: Period) -> None:
    now = utc("2026-07-08T10:30:20")
    bounds = count_bounds(WARSAW, now)
    found = counts(*(("s", "", interval, 1, "1") for interval in range(len(bounds))))
    buckets = bucket_bounds(period, WARSAW, now)
    sums = found.in_buckets(buckets)
    assert len(sums) == len(buckets) - 1
    for (start, end), by_status in zip(pairwise(buckets), sums, strict=True):
        assert by_status["s"].orders == sum(start <= bound < end for bound in bounds)
        assert found.in_interval(Interval(start, end)) == by_status


def test_buckets_are_shown_until_the_count_is_too_old_or_the_clock_was_put_back() -> None:
    now = utc("2026-07-08T10:30:20")
    found = counts(now=now)
    assert found.shown_at(now + timedelta(seconds=5)) == now + timedelta(seconds=5)
    assert found.shown_at(now + timedelta(hours=1)) == now + LOOKAHEAD
    assert found.shown_at(now - timedelta(hours=1)) == now
    for moment in (now + timedelta(hours=1), now - timedelta(hours=1)):
        assert len(found.in_buckets(bucket_bounds(Period.HOUR, WARSAW, found.shown_at(moment)))) == 60
