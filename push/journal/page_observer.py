"""How the relay passes on what it has read, to processes that do not read the journal themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from push.journal.events import Event, EventId, JournalIdentity, Snapshot
from push.journal.totals import Totals

__all__ = ["PageObserver", "PublishedPage"]


@dataclass(frozen=True, slots=True)
class PublishedPage:
    """A page that was published, and between which positions: ``after`` and ``upto`` hold after a crash of the database.

    ``past_id`` and ``more``: the page has the rows with an id above ``past_id``, and others follow in the same read.
    ``newest_before``: an event of the newest transaction that has one and that ``after`` sees. ``totals`` are those after the
    page. ``read_began_at`` is a Unix time.
    """

    after: Snapshot
    upto: Snapshot
    past_id: int
    more: bool
    events: Sequence[Event]
    identity: JournalIdentity
    newest_before: EventId | None
    totals: Totals
    totals_verified: bool
    read_began_at: float


class PageObserver(Protocol):
    """Is told of each page that was read and published, to pass it on. The methods must not raise."""

    @property
    def is_active(self) -> bool:
        """Whether it passes on what is read now."""

    def page_published(self, page: PublishedPage) -> None:
        """Take the page. Must not block. Also called for pages without events."""

    async def wait_writable(self) -> None:
        """Return when it can take more."""
