"""Token buckets, by a clock of the test's own."""

from __future__ import annotations

import pytest

from push.delivery.rate_limit import BURST_SECONDS, INITIALLY_FULL, RateLimits, TokenBucket, TokenBucketRate


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(TokenBucketRate(10))
    assert all(bucket.take(1, 0.0) for _ in range(int(10 * BURST_SECONDS)))
    assert not bucket.take(1, 0.0)
    assert not bucket.take(1, 0.09)
    assert bucket.take(1, 0.11)
    assert not bucket.take(1, 0.11)
    assert not bucket.is_full(0.5)
    assert bucket.is_full(10.0)
    assert not bucket.take(10 * BURST_SECONDS + 1, 10.0)  # more than its capacity
    assert bucket.take(10 * BURST_SECONDS, 10.0)


def test_a_rate_below_one_per_burst_still_admits_one() -> None:
    bucket = TokenBucket(TokenBucketRate(0.1))
    assert bucket.take(1, 0.0)
    assert not bucket.take(1, 9.0)
    assert bucket.take(1, 10.0)


def test_debt_is_at_most_one_burst() -> None:
    bucket = TokenBucket(TokenBucketRate(10))
    bucket.take_with_debt(1000, 0.0)
    assert not bucket.take(1, 2.0)
    assert bucket.take(1, 2.1)


@pytest.mark.parametrize(
    ("limits", "frames", "size"),
    [(RateLimits(frames_per_second=10), 20, 10**6), (RateLimits(bytes_per_second=1000), 10**6, 2000)],
)
def test_limits_on_frames_and_on_bytes_are_charged_separately(limits: RateLimits, frames: int, size: int) -> None:
    full = limits.charge(INITIALLY_FULL, INITIALLY_FULL, frames, size, 0.0)
    assert full is not None
    assert limits.charge(*full, 1, 1, 0.0) is None
    assert limits.charge(*full, 1, 1, 1.0) is not None
    assert limits.charge(*full, 0, 0, 0.0) == full
