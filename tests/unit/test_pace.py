"""When writers should stop to ring, and when to begin again."""

from __future__ import annotations

import pytest

from push.journal.notify_policy import (
    QUEUE_RESUME_USAGE,
    QUEUE_SUPPRESS_USAGE,
    RESUME_RATE,
    SUPPRESS_RATE,
    NotifyMode,
    NotifyPolicy,
)


class Clock:
    """A pace with a clock that is moved by hand."""

    def __init__(self, mode: NotifyMode = NotifyMode.AUTO) -> None:
        self.now = 1000.0
        self.pace = NotifyPolicy(mode)
        self.pace.should_poll(self.now)

    def seconds(self, count: float, transactions_a_second: float) -> bool:
        """So long at that rate, looked at twenty times a second; whether it is fast at the end."""
        owed = 0.0
        for _ in range(round(count * 20)):
            self.now += 0.05
            owed += transactions_a_second / 20
            self.pace.record_transactions(int(owed))
            owed -= int(owed)
            fast = self.pace.should_poll(self.now)
        return fast


def test_it_is_slow_at_first_and_at_a_human_rate() -> None:
    clock = Clock()
    assert not clock.pace.should_poll(clock.now)
    assert not clock.seconds(30, SUPPRESS_RATE - 5)


def test_many_transactions_make_it_fast_before_the_window_ends() -> None:
    clock = Clock()
    assert clock.seconds(0.1, 10 * SUPPRESS_RATE)


def test_between_the_two_rates_it_stays_as_it_is() -> None:
    between = (SUPPRESS_RATE + RESUME_RATE) / 2
    clock = Clock()
    assert not clock.seconds(10, between)
    assert clock.seconds(3, 2 * SUPPRESS_RATE)
    assert clock.seconds(10, between)
    assert not clock.seconds(2.5, RESUME_RATE / 2)
    assert not clock.seconds(10, between)


def test_a_burst_that_is_over_makes_it_fast_for_two_windows_at_most() -> None:
    clock = Clock()
    assert clock.seconds(0.2, 1000)
    assert not clock.seconds(2, 0)


def test_nobody_looks_while_nothing_rings() -> None:
    clock = Clock()
    clock.now += 3600
    clock.pace.record_transactions(SUPPRESS_RATE - 1)
    assert not clock.pace.should_poll(clock.now), "an hour's worth is not a second's"


def test_what_has_gathered_during_an_outage_is_no_rate() -> None:
    clock = Clock()
    clock.pace.record_transactions(100_000)
    clock.pace.reset_count()
    assert not clock.pace.should_poll(clock.now + 0.1)


@pytest.mark.parametrize("mode", NotifyMode)
def test_a_filling_queue_is_fast_in_every_mode_until_it_empties(mode: NotifyMode) -> None:
    clock = Clock(mode)
    quiet = clock.pace.should_poll(clock.now)
    assert quiet is (mode is NotifyMode.NEVER)
    assert not clock.pace.update_queue_usage(QUEUE_SUPPRESS_USAGE - 0.01)
    assert clock.pace.should_poll(clock.now) is quiet
    assert clock.pace.update_queue_usage(QUEUE_SUPPRESS_USAGE), "said when it begins"
    assert not clock.pace.update_queue_usage(QUEUE_SUPPRESS_USAGE), "and only then"
    assert clock.pace.should_poll(clock.now)
    clock.pace.update_queue_usage(QUEUE_RESUME_USAGE)
    assert clock.pace.should_poll(clock.now)
    clock.pace.update_queue_usage(QUEUE_RESUME_USAGE - 0.01)
    assert clock.pace.should_poll(clock.now) is quiet


def test_always_and_never_do_not_look_at_the_rate() -> None:
    always, never = Clock(NotifyMode.ALWAYS), Clock(NotifyMode.NEVER)
    assert not always.seconds(3, 100 * SUPPRESS_RATE)
    assert never.seconds(3, 0)
