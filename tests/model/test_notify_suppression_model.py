"""Notify suppression against the model, without the fallback read: an event whose notification is missing stays unread.

In random runs writers stop between any two of their lock checks, servers switch between notifications and polling, lose their
connections and are replaced. No server may lag by more than one poll interval.

That the test finds errors was tried with each of these, introduced by hand. Each failed within sixty runs, those at the end
of a transaction within 150 at every second try:

- a writer that does not check again after it has registered as skipping, or that registers only after the second check, both
  for its statement and at the end of its transaction;
- a server that relies on notifications without looking for skipping writers, or does so before it has the lock
  `notify_required`, or after its read;
- a server that waits for a notification after it has released the lock, or while a writer may still skip;
- a server that does not ask again on a new connection.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator

import pytest

import push.journal.relay
from push.journal.read_pace import MAX_POLL_INTERVAL
from tests.model.world import World

NEVER = 1e9
# Always run. It found: a notification that arrived between two pages of an older read was forgotten.
KNOWN_SEEDS = (906051959,)


@pytest.fixture(autouse=True)
def no_fallback() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push.journal.relay, "FALLBACK_POLL_INTERVAL", NEVER)
        patch.setattr(push.journal.relay, "PAGE_EVENTS", 3)
        yield


class Run:
    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.world = World()
        self.skipped = self.notified = 0

    def step(self) -> None:
        steps = (
            (self.begin, 10),
            (self.write, 18),
            (self.step_lock_check, 18),
            (self.look_at_the_end, 10),
            (self.end, 14),
            (self.run_ticks, 20),
            (self.change_lease, 10),
            (self.switch_policy, 10),
            (self.lose_connection, 2),
            (self.restart, 1),
            (self.crash, 1),
            (self.assert_up_to_date, 8),
        )
        self.choose.choices([step for step, _ in steps], [weight for _, weight in steps])[0]()

    def begin(self) -> None:
        if len(self.world.database.open) < 4:
            self.world.database.begin(repeatable_read=self.choose.random() < 0.3)

    def write(self) -> None:
        if self.world.database.open:
            self.world.database.write(self.choose.choice(self.world.database.open), self.choose.randrange(5))

    def step_lock_check(self) -> None:
        if self.world.database.open:
            self.world.database.step_lock_check(self.choose.choice(self.world.database.open))

    def look_at_the_end(self) -> None:
        """SET CONSTRAINTS … IMMEDIATE, or a COMMIT that takes its time."""
        waiting = [transaction for transaction in self.world.database.open if transaction.has_notice]
        if waiting:
            transaction = self.choose.choice(waiting)
            self.world.database.lease_holds = self.choose.random() < 0.8
            for _ in range(self.choose.randint(1, 4)):
                self.world.database.step_lock_check(transaction)

    def end(self) -> None:
        database = self.world.database
        if not database.open:
            return
        transaction = self.choose.choice(database.open)
        if self.choose.random() < 0.2:
            database.rollback(transaction)
            return
        self.world.do(lambda: database.commit(transaction, notify=True))
        if transaction.rows:
            self.notified += transaction.notifies
            self.skipped += not transaction.notifies

    def run_ticks(self) -> None:
        self.world.run_ticks(self.choose.randint(1, 5))

    def change_lease(self) -> None:
        """No server may depend on it."""
        self.world.database.lease_holds = self.choose.random() < 0.5

    def switch_policy(self) -> None:
        polls = self.choose.random() < 0.6
        for server in self.choose.choice((self.world.servers, self.world.servers, [self.choose.choice(self.world.servers)])):
            server.notify_policy.polls = polls
        if self.choose.random() < 0.5:
            self.world.run(asyncio.sleep(MAX_POLL_INTERVAL))

    def lose_connection(self) -> None:
        server = self.choose.choice(self.world.servers)
        self.world.do(lambda: server.lose_connection(0.001))

    def restart(self) -> None:
        self.world.restart(self.choose.randrange(2))

    def crash(self) -> None:
        self.world.do(self.world.database.crash)

    def assert_up_to_date(self) -> None:
        if any(server.connection not in self.world.database.connections for server in self.world.servers):
            self.world.run(asyncio.sleep(0.1))  # until all have a connection again
        self.world.run(asyncio.sleep(MAX_POLL_INTERVAL + 0.001))
        for number, server in enumerate(self.world.servers):
            assert server.relay.not_ready_reason is None
            assert server.relay.totals == self.world.database.totals(), f"server {number} has missed a notification"


def test_servers_lag_by_one_poll_interval_at_most_without_the_fallback_read() -> None:
    skipped = notified = 0
    first = int(os.environ.get("MODEL_SEED", random.randrange(10**9)))
    for seed in (*KNOWN_SEEDS, *range(first, first + int(os.environ.get("MODEL_RUNS", "150")))):
        print(f"MODEL_SEED={seed} MODEL_RUNS=1")
        run = Run(random.Random(seed))
        try:
            for _ in range(200):
                run.step()
            run.assert_up_to_date()
        finally:
            run.world.close()
        skipped += run.skipped
        notified += run.notified
    assert skipped > 0, "no writer skipped its notification"
    assert notified > 0, "no writer notified"
    print(f"{skipped} transactions committed without a notification, {notified} with one")
