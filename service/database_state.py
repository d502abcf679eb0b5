"""What the server reads of the database every second or few, beside the journal, and what follows from it.

Where several servers share one relay, the relay alone reads it, and its facts carry it to the others
(``DatabaseState.to_json``).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Never

from db.database import AttachmentProblem, Database
from db.errors import DatabaseError, DatabaseTimeout, DatabaseUnavailable, UnreadableData
from db.identity import WrongDatabase
from logs import FailureLog
from push.journal.relay import Relay
from push.metrics import Metrics

__all__ = ["DatabaseState", "DatabaseWatch", "reported"]

# How often revoked tokens and the use of the notification queue are read.
STATE_POLL_SECONDS = 1.0
# How often it is read what is wrong with the attached tables: some ten looks into the catalog.
ATTACHMENT_POLL_SECONDS = 5.0
# More bytes of revocations than that are not sent to other servers, which read them from the database when they change.
MAX_SHARED_BYTES = 64 * 1024

log = logging.getLogger("orderwire.service")


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """``revoked``: subject to the Unix time up to which its tokens are revoked. ``queue_usage``: of the cluster's notification
    queue, 0 to 1. ``attachment_problem``: why changes make no events; ``attachment_checked_at``: the Unix time of the last
    check that found no such problem.
    """

    revoked: Mapping[str, float]
    queue_usage: float
    attachment_problem: str | None
    attachment_checked_at: float

    def to_json(self) -> str:
        """For other servers. Revocations of more than MAX_SHARED_BYTES are left out, and only their digest is sent."""
        fields: dict[str, Any] = {
            "digest": _digest(self.revoked),
            "queue_usage": self.queue_usage,
            "attachment_problem": self.attachment_problem,
            "attachment_checked_at": self.attachment_checked_at,
        }
        if sum(map(len, self.revoked)) + 20 * len(self.revoked) <= MAX_SHARED_BYTES:
            fields["revoked"] = dict(self.revoked)
        return json.dumps(fields)

    def updated_from_json(self, text: str) -> DatabaseState | None:
        """What another server has written with ``to_json``. None if it has left out revocations that are not ours.

        Raises ValueError for any other text.
        """
        fields = json.loads(text)
        try:
            revoked = fields.get("revoked")
            if revoked is None:
                if fields["digest"] != _digest(self.revoked):
                    return None
                revoked = self.revoked
            return DatabaseState(
                revoked, float(fields["queue_usage"]), fields["attachment_problem"], float(fields["attachment_checked_at"])
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("not a state of the database") from error


def _digest(revoked: Mapping[str, float]) -> str:
    """The same for the same revocations."""
    return hashlib.sha256(json.dumps(sorted(revoked.items())).encode()).hexdigest()[:16]


class DatabaseWatch:
    """Polls the database, or receives what another server has found, and applies it. One per process."""

    def __init__(
        self,
        database: Database,
        relay: Relay,
        metrics: Metrics,
        revoke: Callable[[Mapping[str, float]], None],
        on_state: Callable[[DatabaseState], None] = lambda _state: None,
    ) -> None:
        """``revoke`` is called with all revocations after each poll, ``on_state`` with all that was found."""
        self._database = database
        self._relay = relay
        self._metrics = metrics
        self._revoke = revoke
        self._on_state = on_state
        self._state = DatabaseState({}, 0.0, None, time.time())

    async def poll_state(self) -> Never:
        """Read what can change in the database beside the journal: revoked tokens, and how full the notification queue is.

        Also finds that the pool is led to another server than the listener: nothing but live events can be had then.
        """
        await self._relay.started.wait()
        failures = FailureLog(log)
        while True:
            with reported(failures, "revoked tokens cannot be read"):
                await self.poll_once()
            await asyncio.sleep(STATE_POLL_SECONDS)

    async def poll_once(self) -> None:
        """Read it now. Raises DatabaseError."""
        try:
            usage, revoked = await self._database.poll_state()
        except WrongDatabase as error:
            if self._relay.pool_problem is None:
                log.warning("%s", error)
            self._relay.pool_problem = str(error)
            raise
        self._relay.pool_problem = None
        self._apply(replace(self._state, revoked=revoked, queue_usage=usage))
        self._on_state(self._state)

    async def poll_attached_tables(self) -> Never:
        """Read what is wrong with the attached tables, and log each problem once.

        A problem that stops events until a person acts makes the server not ready (/readyz and the metric): otherwise its
        clients would take an old state for the present one. All else is only logged: new partitions are attached every minute,
        missing rights do not stop events, and without a table there are no events to miss.
        """
        await self._relay.started.wait()
        known: AttachmentProblem | None = None
        failures = FailureLog(log)
        while True:
            with reported(failures, "the attached tables cannot be checked"):
                checked_at = time.time()
                found = await self._database.attachment_problem()
                problem = found.problem if found is not None and found.stops_events else None
                if problem is not None:
                    checked_at = self._state.attachment_checked_at
                self._apply(replace(self._state, attachment_problem=problem, attachment_checked_at=checked_at))
                self._on_state(self._state)
                if found is not None and found != known:
                    log.warning("%s; to mend it: %s", *found[:2])
                elif found is None and known is not None:
                    log.info("the attached tables are in order again")
                known = found
            await asyncio.sleep(ATTACHMENT_POLL_SECONDS)

    def receive(self, text: str) -> bool:
        """Apply what the relay has found (``DatabaseState.to_json``). False: its revocations were too long to be sent, and are
        other ones than ours: call ``poll_once``. Raises ValueError for any other text.
        """
        state = self._state.updated_from_json(text)
        if state is not None:
            self._apply(state)
        return state is not None

    def _apply(self, state: DatabaseState) -> None:
        self._state = state
        self._metrics.notification_queue_usage.set(state.queue_usage)
        self._relay.update_queue_usage(state.queue_usage)
        self._relay.attachment_problem = state.attachment_problem
        self._relay.attachment_checked_at = state.attachment_checked_at
        self._revoke(state.revoked)


@contextlib.contextmanager
def reported(failures: FailureLog, what: str) -> Iterator[None]:
    """Log an error of the database in the block, unless the listener reports it: that there is no connection."""
    try:
        yield
    except DatabaseError as error:
        is_lost = isinstance(error, DatabaseUnavailable) and not isinstance(error, (DatabaseTimeout, UnreadableData))
        if not error.without_connection and not is_lost:
            failures.report(f"{what}: {error}")
    else:
        failures.recovered()
