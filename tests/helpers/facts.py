"""Facts for unit tests."""

from __future__ import annotations

from typing import Any

from push.journal.events import Event, JournalIdentity, Snapshot
from push.journal.facts import Fact, FactHead, Term
from push.journal.totals import Totals

__all__ = ["TERM", "make_fact", "up_to"]

TERM = Term(1_700_000_000.25, "node", "0a0b")


def up_to(txid: int, *running: int) -> Snapshot:
    """The snapshot that sees all transactions up to ``txid`` but those that are running."""
    return Snapshot(min((*running, txid + 1)), txid + 1, running)


def make_fact(*events: Event, after: Snapshot | None = None, upto: Snapshot | None = None, **fields: Any) -> Fact:
    """A fact from transaction 4 to transaction 8, where nothing else is said."""
    head = FactHead(
        term=TERM,
        seq=1,
        identity=JournalIdentity("0a0b0c0d", 3, 7),
        after=after or up_to(4),
        upto=upto or up_to(8),
        past_id=0,
        last_id=None,
        newest_before=None,
        totals=Totals(),
        verified=False,
        read_began_at=1.5,
        event_count=len(events),
        byte_count=sum(len(event.payload) for event in events),
    )
    return Fact(head._replace(**fields), events)
