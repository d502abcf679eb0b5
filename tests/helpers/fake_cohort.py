"""A cohort whose members are no connections."""

from __future__ import annotations

from push.delivery.batch import Batch
from push.delivery.cohort import Cohort
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.journal.totals import Totals
from push.protocol.access import ANALYTICS_TOPIC, ANONYMOUS_GRANT, ORDERS_TOPIC, Grant
from tests.helpers.builders import make_event, messages_of

__all__ = ["CohortMember", "FakeCohort", "publish"]


class FakeCohort(Cohort["CohortMember"]):
    """Hands each member the messages, and detaches those that are blocked."""

    calls = 0
    fails = False

    def write_all(self, batches: list[Batch]) -> None:
        self.calls += 1
        if self.fails:
            raise OSError("injected fault")
        for session, member in list(self.members.items()):
            member.received += messages_of(batches)
            if member.blocked:
                session.detach()


class CohortMember:
    """A client of a hub that takes what waits unless it is ``blocked``, and joins the cohort when it is caught up."""

    def __init__(self, hub: Hub, cohort: FakeCohort, grant: Grant = ANONYMOUS_GRANT) -> None:
        self.cohort = cohort
        self.received: list[bytes] = []
        # Passes of the hub that have served this session by itself.
        self.flush_calls = 0
        self.blocked = False
        self.session = Session(SendQueue(10, 1000), self)
        hub.add(self.session)
        self.session.apply_grant(grant, frozenset({ORDERS_TOPIC, ANALYTICS_TOPIC}))
        hub.go_live(self.session)
        self.schedule_flush()

    def schedule_flush(self) -> None:
        while not self.blocked and (batches := self.session.take(1000)):
            self.received += messages_of(batches)
        if not self.blocked and self.session.is_caught_up:
            self.cohort.join(self.session, self)

    def flush_broadcast(self) -> int:
        self.flush_calls += 1
        self.schedule_flush()
        return 0

    def fault(self) -> int:
        raise ValueError("injected fault")

    def is_detached(self) -> bool:
        """Whether the session is in no cohort; a call, since a type checker narrows an attribute between two asserts."""
        return self.session.cohort is None


def publish(hub: Hub, *payloads: bytes) -> None:
    """Publish one event for each payload, and no change of the totals."""
    hub.publish([make_event(payload=payload) for payload in payloads], Totals())
