"""Which PostgreSQL a connection leads to, and whether that is the one that this process follows.

An address can lead to several servers: a URL with several hosts, a name or a proxy that a failover moves. A read from a standby
or from an old primary looks like any other, and lacks events. So each connection says where it leads when it is opened, and is
used only if that is the server which the listener reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg

from db.errors import DatabaseUnavailable

__all__ = ["DatabaseIdentity", "FollowedDatabase", "WrongDatabase"]

log = logging.getLogger("orderwire.database")

_IDENTITY_SQL = "select i.system_identifier, i.database_oid, i.timeline from orderwire.database_identity() as i"


class WrongDatabase(DatabaseUnavailable):
    """The connection leads to another server than the one that is followed. The next attempt may reach the right one."""

    public_text = "the address of the database leads to another server than the one that events come from"


class DatabaseIdentity(NamedTuple):
    """A database of a cluster, and the cluster's timeline: a promoted standby is on another one than its old primary."""

    system_identifier: int
    database_oid: int
    timeline: int

    @classmethod
    async def read(cls, connection: asyncpg.Connection[asyncpg.Record]) -> DatabaseIdentity:
        """Raises WrongDatabase on a standby, whose snapshots list no running transactions; and the driver's errors."""
        row = await connection.fetchrow(_IDENTITY_SQL)
        assert row is not None
        if row["timeline"] is None:
            raise WrongDatabase("this connection leads to a read-only standby")
        return cls(row["system_identifier"], row["database_oid"], int(row["timeline"], 16))

    def precedes(self, other: DatabaseIdentity) -> bool:
        """Whether this is an old primary, and ``other`` the new primary of the same database."""
        return self[:2] == other[:2] and self.timeline < other.timeline


class FollowedDatabase:
    """The database that this process follows: set by the listener, and required of the pool. One per process."""

    def __init__(self, url: str) -> None:
        self._url = url
        # With which of its hosts to begin.
        self._first_host = 0
        # None until the listener has connected.
        self._followed: DatabaseIdentity | None = None
        # The same, or a newer primary of it, which another connection has reached.
        self._newest: DatabaseIdentity | None = None
        # Since the last connection that was followed.
        self._is_old_reported = False
        # Called when a connection has reached a newer primary than the one that is followed.
        self.on_superseded: Callable[[], None] = lambda: None
        # Called with the database that is followed from now on.
        self.on_follow: Callable[[DatabaseIdentity], None] = lambda _identity: None

    @property
    def url(self) -> str:
        """The address for the next connection. Its hosts begin with the next one after an old primary was found."""
        parts = urlsplit(self._url) if self._first_host else None
        if parts is None or "," not in parts.netloc:
            return self._url
        login, at, hosts = parts.netloc.rpartition("@")
        names = hosts.split(",")
        start = self._first_host % len(names)
        return parts._replace(netloc=login + at + ",".join(names[start:] + names[:start])).geturl()

    def follow(self, found: DatabaseIdentity) -> None:
        """The listener's connection leads to ``found``. Raises WrongDatabase if that is an old primary."""
        if self._newest is not None and found.precedes(self._newest):
            self._first_host += 1
            error = WrongDatabase(
                f"this connection leads to an old primary, on timeline {found.timeline}: the new one is on timeline "
                f"{self._newest.timeline}. Stop the old one, or take it out of the address; if an older backup was put back on "
                "purpose, restart this server"
            )
            if not self._is_old_reported:
                self._is_old_reported = True
                log.warning("%s", error)
            raise error
        self._followed = self._newest = found
        self._is_old_reported = False
        self.on_follow(found)

    def require(self, found: DatabaseIdentity) -> None:
        """Raises WrongDatabase if ``found`` is not the database that the listener follows; once it follows one."""
        if self._followed is None or found == self._followed:
            return
        if self._newest is not None and self._newest.precedes(found):
            log.warning("there is a new primary, on timeline %d: leaving the one on timeline %d", found[2], self._followed[2])
            self._newest = found
            self.on_superseded()
        raise WrongDatabase(
            f"a connection leads to another server than the listener's: {_describe(found)}, not {_describe(self._followed)}"
        )


def _describe(identity: DatabaseIdentity) -> str:
    return f"system {identity.system_identifier}, database {identity.database_oid}, timeline {identity.timeline}"
