"""The lease of the server that reads the journal for all, where a broker is between the servers."""

from __future__ import annotations

from datetime import timedelta

from db.errors import wrap_driver_errors
from db.identity import DatabaseIdentity, FollowedDatabase
from db.pool import ConnectionPool, PoolConnection

__all__ = ["RelayLease"]

# A request that takes longer comes too late for the lease. It is renewed every second.
TIMEOUT_SECONDS = 1.0


class RelayLease(ConnectionPool):
    """Over a connection of its own: those of the pool may all be busy, and the lease ends in seconds.

    Every method raises DatabaseError.
    """

    def __init__(self, followed: FollowedDatabase, server: str) -> None:
        """``server``: a name that no other server has."""
        super().__init__(followed, TIMEOUT_SECONDS, max_connections=1)
        self._server = server

    async def identity(self) -> DatabaseIdentity:
        """Which database this is. Raises WrongDatabase where it is not the one that is followed."""
        async with self._acquire() as connection:
            identity: DatabaseIdentity = connection.identity  # type: ignore[attr-defined]  # passed on by the proxy
        return identity

    async def read_identity(self) -> DatabaseIdentity:
        """Which database the address leads to now, over a new connection, whether or not it is the one that is followed."""
        with wrap_driver_errors():
            connection = await self._connector.connect(connection_class=PoolConnection)
        assert isinstance(connection, PoolConnection)
        connection.terminate()
        return connection.identity

    async def hold(self, seconds: float) -> bool:
        """Take or renew the lease for so long. False: another server has it."""
        async with self._acquire() as connection:
            holder: str = await connection.fetchval(
                "select orderwire.hold_relay_lease($1, $2)", self._server, timedelta(seconds=seconds)
            )
        return holder == self._server

    async def release(self) -> None:
        """Give it back, if this server has it."""
        async with self._acquire() as connection:
            await connection.execute("select orderwire.release_relay_lease($1)", self._server)
