"""Who reads the journal for all. The clock is the test's: times are in seconds."""

from __future__ import annotations

from push.journal.relay_election import LEASE_SECONDS, MAX_EXTRA_SILENCE, RelayElection

CONNECTED = None
NEVER = None


def test_the_holder_of_the_lease_is_the_relay_until_it_ends() -> None:
    election = RelayElection(now=100.0)
    assert not election.is_relay(100.0, CONNECTED, NEVER)
    election.record_answer(100.0, is_held=True)
    assert election.is_relay(100.1, CONNECTED, NEVER)
    election.record_answer(101.0, is_held=True)
    assert election.is_relay(101.0 + LEASE_SECONDS - 0.01, CONNECTED, heard_at=103.0)
    # It could not be renewed, and another relay is heard: it may have the lease by now.
    assert not election.is_relay(101.0 + LEASE_SECONDS, CONNECTED, heard_at=103.0)


def test_the_lease_is_counted_from_before_the_request() -> None:
    election = RelayElection(now=0.0)
    # The answer came late: the database has counted from some time after 0.
    election.record_answer(0.0, is_held=True)
    assert election.is_relay(LEASE_SECONDS - 0.01, CONNECTED, heard_at=LEASE_SECONDS)
    assert not election.is_relay(LEASE_SECONDS, CONNECTED, heard_at=LEASE_SECONDS)


def test_another_server_that_has_the_lease_is_the_relay_even_if_it_is_silent() -> None:
    election = RelayElection(now=0.0)
    for second in range(10):
        election.record_answer(float(second), is_held=False)
        assert not election.is_relay(float(second), CONNECTED, NEVER)


def test_a_relay_goes_on_while_the_lease_cannot_be_renewed_and_no_other_is_heard() -> None:
    election = RelayElection(now=0.0)
    election.record_answer(0.1, is_held=True)
    for tenth in range(1, 100):
        assert election.is_relay(0.1 + tenth / 10, CONNECTED, NEVER)


def test_a_lease_that_is_taken_over_ends_our_term_at_once() -> None:
    election = RelayElection(now=0.0)
    election.record_answer(0.0, is_held=True)
    election.record_answer(1.0, is_held=False)
    assert not election.is_relay(1.0, CONNECTED, NEVER)


def test_without_the_database_of_the_lease_silence_decides() -> None:
    election = RelayElection(now=0.0)
    election.record_answer(0.0, is_held=False)
    assert not election.is_relay(LEASE_SECONDS - 0.01, CONNECTED, NEVER)
    assert not election.is_relay(4.0, CONNECTED, heard_at=3.7)
    assert election.is_relay(3.7 + LEASE_SECONDS, CONNECTED, heard_at=3.7)
    # Another one begins too: this one stops.
    assert not election.is_relay(7.0, CONNECTED, heard_at=6.9)


def test_a_server_that_has_just_started_listens_before_it_decides() -> None:
    election = RelayElection(now=50.0)
    assert not election.is_relay(50.0 + LEASE_SECONDS - 0.01, CONNECTED, NEVER)
    assert election.is_relay(50.0 + LEASE_SECONDS, CONNECTED, NEVER)


def test_of_two_that_hear_each_other_one_begins_again_first() -> None:
    eager = RelayElection(now=0.0, extra_silence=0.1)
    patient = RelayElection(now=0.0, extra_silence=MAX_EXTRA_SILENCE)
    # Both have begun, have heard each other at 10, and stop.
    assert not eager.is_relay(10.0, CONNECTED, heard_at=10.0)
    assert not patient.is_relay(10.0, CONNECTED, heard_at=10.0)
    begins_at = 10.0 + LEASE_SECONDS + 0.11
    assert eager.is_relay(begins_at, CONNECTED, heard_at=10.0)
    assert not patient.is_relay(begins_at, CONNECTED, heard_at=10.0)
    assert not patient.is_relay(begins_at + 1.0, CONNECTED, heard_at=begins_at)


def test_without_the_broker_a_server_reads_for_itself_and_leaves_the_lease_to_others() -> None:
    election = RelayElection(now=0.0)
    election.record_answer(0.0, is_held=True)
    lost_at = 1.0
    assert election.wants_lease(lost_at + LEASE_SECONDS - 0.01, lost_at)
    assert not election.wants_lease(lost_at + LEASE_SECONDS, lost_at)
    election.record_answer(lost_at + 2.0, is_held=False)
    assert not election.is_relay(lost_at + 2.1, lost_at, NEVER)
    assert election.is_relay(lost_at + LEASE_SECONDS, lost_at, NEVER)
    # The broker is back: the other server has the lease.
    assert not election.is_relay(lost_at + LEASE_SECONDS + 0.1, CONNECTED, NEVER)
