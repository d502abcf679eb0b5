"""What the programs of server.py do with the database when they start."""

from __future__ import annotations

import asyncpg

from db.errors import DatabaseMisconfigured, wrap_driver_errors
from db.identity import primary_only
from db.migrate import create_starter, migrate

__all__ = ["NOTHING_ATTACHED", "is_attached", "prepare_embedded", "require_starter"]

NOTHING_ATTACHED = (
    "no table of orders is attached: python server.py attach lists candidates, attach --create makes a starter table"
)

_IS_ATTACHED_SQL = "select exists (select from orderwire.attached_tables as a where a.name = 'orders')"
# Not to_regclass, which answers from the search path and the cache of the session.
_ORDERS_SQL = """
select obj_description(c.oid, 'pg_class') as description
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where n.nspname = 'public' and c.relname = 'orders'
"""


async def prepare_embedded(url: str) -> None:
    """Migrate, and create the starter table where no table is attached and none has its name. Raises DatabaseError."""
    await migrate(url)
    with wrap_driver_errors():
        connection = await asyncpg.connect(url, **primary_only(url), timeout=5)
        try:
            wanted = not await connection.fetchval(_IS_ATTACHED_SQL) and not await connection.fetch(_ORDERS_SQL)
        finally:
            connection.terminate()
    if wanted:
        await create_starter(url)


async def is_attached(url: str) -> bool:
    """Whether a table of orders is attached. The schema must exist. Raises DatabaseError."""
    with wrap_driver_errors():
        connection = await asyncpg.connect(url, **primary_only(url), timeout=5)
        try:
            attached: bool = await connection.fetchval(_IS_ATTACHED_SQL)
        finally:
            connection.terminate()
    return attached


async def require_starter(url: str) -> None:
    """Raises DatabaseMisconfigured where public.orders is not the starter table: the demo must not write to a shop's table."""
    with wrap_driver_errors():
        connection = await asyncpg.connect(url, **primary_only(url), timeout=5)
        try:
            rows = await connection.fetch(_ORDERS_SQL)
        finally:
            connection.terminate()
    if not rows:
        raise DatabaseMisconfigured("the demo needs the starter table: python server.py attach --create makes it")
    if not (rows[0]["description"] or "").startswith("Starter table of Orderwire."):
        raise DatabaseMisconfigured("the demo only writes to the starter table, and public.orders is a table of yours")
