"""Orders and revenue by status, over all orders and by the time of creation. Pure: which intervals of time, and their sums.

A count of the orders has them by status, currency and interval. Its intervals are narrow enough for every period and every day
that is compared, so that one count answers each request.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from decimal import Context, Decimal, localcontext
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from push.journal.events import Cursor

__all__ = ["Interval", "OrderCounts", "OrderGroup", "Period", "StatusSums", "bucket_bounds", "compared_days", "count_bounds"]

# How long a count can be used: its intervals include those that will be shown until then.
LOOKAHEAD = timedelta(minutes=5)
# Sums are exact, as PostgreSQL's are: see push/journal/totals.py.
_EXACT = Context(prec=100)


class Period(StrEnum):
    """The time that a series covers, up to now."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"


class Interval(NamedTuple):
    """Two instants, in UTC: from the first one until before the second one."""

    start: datetime
    end: datetime


# Number of buckets, and their width: of a week on the clock of the time zone, where a day may have 23 or 25 hours.
_BUCKETS = {
    Period.HOUR: (60, timedelta(minutes=1)),
    Period.DAY: (96, timedelta(minutes=15)),
    Period.WEEK: (84, timedelta(hours=2)),
}


def bucket_bounds(period: Period, zone: tzinfo, now: datetime) -> list[datetime]:
    """The instants between the buckets of a period, ascending: one more than there are buckets. The last bucket has ``now``.

    Buckets are aligned to the clock of ``zone``. Where it is put forward or back, a bucket of a week is shorter or longer.
    """
    count, width = _BUCKETS[period]
    if period is Period.WEEK:
        today = now.astimezone(zone).date()
        # A set: where the clock is put forward, two of them may be one instant.
        starts = {
            datetime.combine(today + timedelta(days=day), time(hour), zone).astimezone(UTC)
            for day in range(-9, 3)
            for hour in range(0, 24, 2)
        }
        ascending = sorted(starts)
        after = bisect_right(ascending, now)
        return ascending[after - count : after + 1]
    # Offsets of time zones are multiples of 15 minutes: the clocks of all zones agree on these.
    end = datetime.fromtimestamp((now.timestamp() // width.total_seconds() + 1) * width.total_seconds(), UTC)
    return [end - width * left for left in range(count, -1, -1)]


def compared_days(zone: tzinfo, now: datetime) -> dict[str, Interval]:
    """Today until now, yesterday until this time of day, and the same of a week ago."""
    local = now.astimezone(zone)

    def until_now(days_ago: int) -> Interval:
        day = local.date() - timedelta(days=days_ago)
        midnight = datetime.combine(day, time(), zone).astimezone(UTC)
        same_time = now if days_ago == 0 else datetime.combine(day, local.time(), zone).astimezone(UTC)
        return Interval(midnight, max(midnight, same_time.astimezone(UTC)))

    return {"today": until_now(0), "yesterday": until_now(1), "last_week": until_now(7)}


def count_bounds(zone: tzinfo, now: datetime) -> list[datetime]:
    """The instants between the intervals of a count: those of all buckets until LOOKAHEAD from now, and of compared days."""
    bounds = {bound for moment in (now, now + LOOKAHEAD) for period in Period for bound in bucket_bounds(period, zone, moment)}
    for day in compared_days(zone, now).values():
        bounds |= set(day)
    return sorted(bounds)


class OrderGroup(NamedTuple):
    """How many orders have a status and a currency (empty: none), and were created in an interval; and their revenue.

    ``interval`` counts from 1: the first two bounds of the count. 0: they were created at another time, or it is not known.
    """

    status: str
    currency: str
    interval: int
    orders: int
    revenue: Decimal


class StatusSums(NamedTuple):
    """Orders of one status, and their revenue by currency (empty: none). A currency whose revenue is 0 has no entry."""

    orders: int
    revenue: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """The orders as counted at ``now``. ``position``: the counts have every change up to there, and none after it."""

    now: datetime
    bounds: Sequence[datetime]
    groups: Sequence[OrderGroup]
    position: Cursor

    @property
    def orders(self) -> int:
        return sum(group.orders for group in self.groups)

    def plus(self, groups: Iterable[OrderGroup], position: Cursor) -> OrderCounts:
        """The counts after changes, each of which is a group with what it adds."""
        sums: dict[tuple[str, str, int], tuple[int, Decimal]] = {}
        with localcontext(_EXACT):
            for status, currency, interval, orders, revenue in (*self.groups, *groups):
                before = sums.get((status, currency, interval), (0, Decimal(0)))
                sums[status, currency, interval] = before[0] + orders, before[1] + revenue
        merged = [OrderGroup(*names, *numbers) for names, numbers in sums.items() if numbers[0] or numbers[1]]
        return OrderCounts(self.now, self.bounds, merged, position)

    def by_status(self) -> dict[str, StatusSums]:
        """The sums over all orders."""
        return _by_status(self.groups)

    def in_interval(self, interval: Interval) -> dict[str, StatusSums]:
        """The sums over the orders that were created in an interval; its ends are bounds of the count."""
        numbers = range(self.bounds.index(interval.start) + 1, self.bounds.index(interval.end) + 1)
        return _by_status(group for group in self.groups if group.interval in numbers)

    def in_buckets(self, bounds: Sequence[datetime]) -> list[dict[str, StatusSums]]:
        """The sums for each bucket between two of these bounds, which are bounds of the count too."""
        found: list[list[OrderGroup]] = [[] for _ in pairwise(bounds)]
        for group in self.groups:
            if group.interval > 0:
                bucket = bisect_right(bounds, self.bounds[group.interval - 1]) - 1
                if 0 <= bucket < len(found):
                    found[bucket].append(group)
        return [_by_status(groups) for groups in found]

    def shown_at(self, now: datetime) -> datetime:
        """The moment up to which buckets can be shown: ``now``, unless that is too far from when the orders were counted."""
        return min(max(now, self.now), self.now + LOOKAHEAD)


def _by_status(groups: Iterable[OrderGroup]) -> dict[str, StatusSums]:
    orders: dict[str, int] = {}
    revenue: dict[str, dict[str, Decimal]] = {}
    with localcontext(_EXACT):
        for group in groups:
            orders[group.status] = orders.get(group.status, 0) + group.orders
            by_currency = revenue.setdefault(group.status, {})
            by_currency[group.currency] = by_currency.get(group.currency, Decimal(0)) + group.revenue
    sums = {
        status: StatusSums(count, {name: amount for name, amount in sorted(revenue[status].items()) if amount})
        for status, count in sorted(orders.items())
    }
    return {status: found for status, found in sums.items() if found.orders or found.revenue}
