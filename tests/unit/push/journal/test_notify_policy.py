"""When the policy switches from notifications to polling, and back."""

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


class Simulation:
    """A policy with a clock that the test advances."""

    def __init__(self, mode: NotifyMode = NotifyMode.AUTO) -> None:
        self.now = 1000.0
        self.policy = NotifyPolicy(mode)
        self.policy.should_poll(self.now)

    def run(self, seconds: float, transactions_per_second: float) -> bool:
        """Run for so long at that rate, with twenty decisions per second. Returns the last one: whether to poll."""
        pending = 0.0
        for _ in range(round(seconds * 20)):
            self.now += 0.05
            pending += transactions_per_second / 20
            self.policy.record_transactions(int(pending))
            pending -= int(pending)
            polls = self.policy.should_poll(self.now)
        return polls


def test_no_polling_at_first_and_at_a_low_rate() -> None:
    simulation = Simulation()
    assert not simulation.policy.should_poll(simulation.now)
    assert not simulation.run(30, SUPPRESS_RATE - 5)


def test_many_transactions_start_polling_before_the_window_ends() -> None:
    simulation = Simulation()
    assert simulation.run(0.1, 10 * SUPPRESS_RATE)


def test_between_the_two_rates_nothing_changes() -> None:
    between = (SUPPRESS_RATE + RESUME_RATE) / 2
    simulation = Simulation()
    assert not simulation.run(10, between)
    assert simulation.run(3, 2 * SUPPRESS_RATE)
    assert simulation.run(10, between)
    assert not simulation.run(2.5, RESUME_RATE / 2)
    assert not simulation.run(10, between)


def test_polling_ends_two_windows_after_a_burst_at_most() -> None:
    simulation = Simulation()
    assert simulation.run(0.2, 1000)
    assert not simulation.run(2, 0)


def test_transactions_of_a_long_window_are_divided_by_its_length() -> None:
    simulation = Simulation()
    simulation.now += 3600
    simulation.policy.record_transactions(SUPPRESS_RATE - 1)
    assert not simulation.policy.should_poll(simulation.now), "the rate is that of an hour"


def test_transactions_from_an_outage_are_not_counted() -> None:
    simulation = Simulation()
    simulation.policy.record_transactions(100_000)
    simulation.policy.reset_count()
    assert not simulation.policy.should_poll(simulation.now + 0.1)


@pytest.mark.parametrize("mode", NotifyMode)
def test_filling_queue_starts_polling_in_every_mode_until_it_empties(mode: NotifyMode) -> None:
    simulation = Simulation(mode)
    quiet = simulation.policy.should_poll(simulation.now)
    assert quiet is (mode is NotifyMode.NEVER)
    assert not simulation.policy.update_queue_usage(QUEUE_SUPPRESS_USAGE - 0.01)
    assert simulation.policy.should_poll(simulation.now) is quiet
    assert simulation.policy.update_queue_usage(QUEUE_SUPPRESS_USAGE), "it has just become too full"
    assert not simulation.policy.update_queue_usage(QUEUE_SUPPRESS_USAGE), "it was too full already"
    assert simulation.policy.should_poll(simulation.now)
    simulation.policy.update_queue_usage(QUEUE_RESUME_USAGE)
    assert simulation.policy.should_poll(simulation.now)
    simulation.policy.update_queue_usage(QUEUE_RESUME_USAGE - 0.01)
    assert simulation.policy.should_poll(simulation.now) is quiet


def test_always_and_never_ignore_the_rate() -> None:
    always, never = Simulation(NotifyMode.ALWAYS), Simulation(NotifyMode.NEVER)
    assert not always.run(3, 100 * SUPPRESS_RATE)
    assert never.run(3, 0)
