"""The connection of a command that attaches or detaches, its errors, and how it waits for locks."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from db.connect import Connection, open_connection
from db.errors import DatabaseMisconfigured, first_line
from db.migrate import require_primary, set_role_to_owner

__all__ = ["ALL_LOCKS", "WRITER_LOCKS", "PrintLine", "Refused", "connect", "run_when_unlocked"]

PrintLine: TypeAlias = Callable[[str], None]

RETRY_SECONDS = 2.0

# Modes of locks that conflict with that of CREATE TRIGGER, and with that of DROP TRIGGER.
WRITER_LOCKS = [
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
]
ALL_LOCKS = ["AccessShareLock", "RowShareLock", *WRITER_LOCKS]
_HOLDERS_SQL = """
select coalesce(
    'pid ' || l.pid || ' (' || concat_ws(
        ', ', 'role ' || a.usename, nullif(a.application_name, ''), a.state,
        'since ' || to_char(coalesce(a.xact_start, a.backend_start), 'HH24:MI:SS'),
        nullif(left(regexp_replace(a.query, '\\s+', ' ', 'g'), 60), '')
    ) || ')',
    'the prepared transaction ' || quote_literal(p.gid)
) as holder
from pg_locks as l
left join pg_stat_activity as a on a.pid = l.pid
left join pg_prepared_xacts as p on l.pid is null and l.virtualtransaction = '-1/' || p.transaction
where
    l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid() and l.mode = any($2)
    and l.database = (select d.oid from pg_database as d where d.datname = current_database())
    and l.relation in (
        select $1::regclass::oid union all select t.relid::oid from pg_partition_tree($1::regclass) as t
    )
order by a.xact_start
limit 3
"""


class Refused(DatabaseMisconfigured):
    """PostgreSQL, or a check of ours, refused the command. The text is one line with the way out."""


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    """A connection to the primary; errors of the driver become DatabaseError, with PostgreSQL's hint in brackets."""
    async with open_connection(url, "orderwire attach") as connection:
        try:
            await require_primary(connection)
            # Not `public`, where other roles may have created functions and operators.
            await connection.execute("set search_path = pg_catalog, pg_temp")
            yield connection
        except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            raise
        except asyncpg.PostgresError as error:
            raise Refused(_error_line(error)) from error


async def run_when_unlocked(
    connection: Connection,
    statement: str,
    arguments: Sequence[str],
    relation: str | None,
    modes: Sequence[str],
    wait_seconds: float,
    print_line: PrintLine,
) -> None:
    """Run a statement as the schema's owner, in a transaction of its own.

    While a lock is not available, it runs again every RETRY_SECONDS, with a line that says who holds ``relation`` in
    one of the ``modes``. Raises Refused after ``wait_seconds``.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            async with connection.transaction():
                await connection.execute("set local lock_timeout = '10s'")
                await set_role_to_owner(connection)
                await connection.execute(statement, *arguments)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            holders = [row["holder"] for row in await connection.fetch(_HOLDERS_SQL, relation, list(modes))] if relation else []
            who = f"{relation} is held by {'; '.join(holders)}" if holders else first_line(error)
            if time.monotonic() + RETRY_SECONDS > deadline:
                raise Refused(
                    f"{who}: end that transaction, or wait longer (--wait SECONDS); nothing has been changed"
                ) from error
            print_line(f"waiting: {who}; trying again in {RETRY_SECONDS:g} s")
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


def _error_line(error: asyncpg.PostgresError) -> str:
    hint = getattr(error, "hint", None)
    text = first_line(error)
    if "missing FROM-clause entry" in text and not re.search(r"the map's (customer_name|data) ", text):
        hint = "joins are for customer_name and data only: for a code, write case o.code when 1 then 'new' … else 'unknown' end"
    elif re.search(r"the map's .* does not work: column .* does not exist", text):
        hint = f"write a column that is there; if it was dropped, take it out of the map. {hint or ''}"
    return text + (f" ({' '.join(hint.split())})" if hint else "")
