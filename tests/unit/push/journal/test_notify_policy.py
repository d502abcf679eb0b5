"""When the policy switches from notifications to polling, and back."""

from __future__ import annotations

import pytest

from push.journal.notify_policy import (
    QUEUE_RESUME_USAGE,
    QUEUE_SUPPRESS_USAGE,
    RESUME_RATIO,
    SAMPLE_INTERVAL_SECONDS,
    SUPPRESS_RATE,
    SUPPRESS_WAITERS,
    WINDOW_SECONDS,
    NotifyMode,
    NotifyPolicy,
)


class Simulation:
    """A policy with a clock that the test advances, and a relay that reads every 10 ms."""

    def __init__(self, mode: NotifyMode = NotifyMode.AUTO) -> None:
        self.now = 1000.0
        self.samples = 0
        self.policy = NotifyPolicy(mode)
        self.policy.should_poll(self.now)

    def run(self, seconds: float, transactions_per_second: float, waiters: float = 0) -> bool:
        """Run for so long at that rate, with so many waiting writers in the mean while they notify.

        Returns the last decision: whether to poll.
        """
        transactions = waiting = 0.0
        for _ in range(round(seconds * 100)):
            self.now += 0.01
            transactions += transactions_per_second / 100
            polls = self.policy.should_poll(self.now)
            self.policy.record_transactions(int(transactions))
            transactions -= int(transactions)
            if self.policy.is_sample_due(self.now):
                assert not polls
                self.samples += 1
                waiting += waiters
                self.policy.record_waiters(int(waiting), self.now)
                waiting -= int(waiting)
        return polls


@pytest.mark.parametrize("rate", [5, 60, 340, SUPPRESS_RATE - 50])
def test_writers_that_do_not_wait_notify_at_any_rate_below_the_upper_one(rate: int) -> None:
    assert not Simulation().run(30, rate, waiters=0.8 * SUPPRESS_WAITERS)


@pytest.mark.parametrize("rate", [50, 100, 340, 900])
def test_waiting_writers_start_polling_at_any_rate(rate: int) -> None:
    """A slow disk lets writers wait at a few commits a second."""
    simulation = Simulation()
    assert not simulation.run(5, rate)
    assert simulation.run(2, rate, waiters=1.2 * SUPPRESS_WAITERS)


def test_many_waiting_writers_start_polling_within_a_tenth_of_a_second() -> None:
    simulation = Simulation()
    simulation.run(3, 100)
    assert simulation.run(0.11, 900, waiters=6)


def test_one_sample_alone_does_not_start_polling() -> None:
    simulation = Simulation()
    simulation.run(3, 1)
    simulation.policy.record_transactions(1)
    simulation.policy.record_waiters(8, simulation.now)
    assert not simulation.run(3, 1)


def test_many_transactions_start_polling_before_the_window_ends_although_no_writer_waits() -> None:
    simulation = Simulation()
    assert simulation.run(0.3, 5 * SUPPRESS_RATE)


def test_polling_ends_well_below_the_rate_at_which_it_began() -> None:
    simulation = Simulation()
    assert simulation.run(2, 400, waiters=2)
    # While writers do not notify none waits.
    assert simulation.run(10, 1.2 * RESUME_RATIO * 400)
    assert not simulation.run(3, 0.5 * RESUME_RATIO * 400)
    assert not simulation.run(10, 400), "nor does it begin again without a writer that waits"


def test_polling_ends_two_windows_after_a_burst_at_most() -> None:
    simulation = Simulation()
    assert simulation.run(0.5, 4 * SUPPRESS_RATE)
    assert not simulation.run(2 * WINDOW_SECONDS + 0.02, 0)


def test_samples_are_taken_while_there_are_commits_and_writers_notify() -> None:
    simulation = Simulation()
    simulation.run(10, 0)
    assert simulation.samples == 0
    simulation.run(1, 1000)
    assert simulation.samples <= 1 / SAMPLE_INTERVAL_SECONDS + 1
    simulation = Simulation()
    simulation.run(10, 3)
    assert simulation.samples == 30, "one for each commit, as they are further apart"
    for mode in (NotifyMode.ALWAYS, NotifyMode.NEVER):
        simulation = Simulation(mode)
        simulation.run(1, 1000)
        assert simulation.samples == 0


def test_transactions_of_a_long_window_are_divided_by_its_length() -> None:
    simulation = Simulation()
    simulation.now += 3600
    simulation.policy.record_transactions(2 * SUPPRESS_RATE)
    assert not simulation.policy.should_poll(simulation.now), "the rate is that of an hour"


def test_transactions_from_an_outage_are_not_counted() -> None:
    simulation = Simulation()
    simulation.policy.record_transactions(100_000)
    simulation.policy.reset_count()
    assert not simulation.policy.should_poll(simulation.now + 0.1)
    assert not simulation.policy.is_sample_due(simulation.now + 0.1)


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
    assert not always.run(3, 100 * SUPPRESS_RATE, waiters=8)
    assert never.run(3, 0)
