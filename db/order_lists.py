"""The SQL of the lists of orders: pages of all orders, or of those that a filter names (sql/functions/22_find_orders.sql)."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import asyncpg

from db.journal import Fetch
from db.position import POSITION_SQL, first_row, position_of
from push.errors import TooManySearches
from push.protocol.order_list import ListCursor, OrderFilter, OrderOwner, OrderPage, OrderPageRequest
from push.turn_queue import FairSlots

__all__ = ["OrderLists"]

# How long a search over all orders goes on, and at how many orders of their own a customer's search looks.
SEARCH_TIME = timedelta(seconds=1)
MAX_SEARCHED = 1000
# Searches that no index answers, at a time: each may have a connection of the pool for SEARCH_TIME. How long others wait.
MAX_UNINDEXED_SEARCHES = 2
MAX_WAIT_SECONDS = 10.0

LIST_SQL = f"""
select p.*, l.* from ({POSITION_SQL}) as p left join lateral orderwire.list_orders($1, $2, $3) as l on true
"""
_LIST_OWN_SQL = f"""
select p.*, l.*
from ({POSITION_SQL}) as p left join lateral orderwire.list_customer_orders($4, $5, $1, $2, $3) as l on true
"""
_FIND_SQL = f"""
select p.*, f.orders, f.next_value, f.next_key, f.complete, orderwire.rfc3339(f.searched_to) as searched_to
from ({POSITION_SQL}) as p, orderwire.find_orders($1, $2, $3, $4, $5, $6, $7, $8) as f
"""
_FIND_OWN_SQL = f"""
select p.*, f.order_json, f.sort_value, f.key, f.is_match, orderwire.rfc3339(f.created_at) as created_at
from ({POSITION_SQL}) as p
left join lateral orderwire.find_customer_orders($7, $8, $1, $2, $3, $4, $5, $6, $9) as f on true
"""


class OrderLists:
    """Reads pages of orders through a ``Fetch``. Raises what that raises, and SchemaMissing."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._unindexed = FairSlots(MAX_UNINDEXED_SEARCHES)

    async def page(self, wanted: OrderPageRequest, client: Hashable) -> OrderPage:
        """The newest orders after the cursor that the filter names. Raises TooManySearches too."""
        if not wanted.filter.is_empty:
            return await (self._find(wanted, client) if wanted.owner is None else self._find_own(wanted, wanted.owner))
        bounds = (wanted.limit + 1, *(wanted.after or (None, None)))
        if wanted.owner is None:
            rows = await self._fetch(LIST_SQL, *bounds)
        else:
            rows = await self._fetch(_LIST_OWN_SQL, *bounds, wanted.owner.subject, list(wanted.owner.keys))
        found = [row for row in rows if row["key"] is not None]
        listed = found[: wanted.limit]
        next_cursor = _cursor(listed[-1]) if len(found) > wanted.limit else None
        return OrderPage([row["order_json"] for row in listed], next_cursor, True, position_of(first_row(rows)))

    async def _find(self, wanted: OrderPageRequest, client: Hashable) -> OrderPage:
        # While there is room, a search need not be known to have indexes.
        if self._unindexed.is_full and await self._is_indexed(wanted.filter):
            return await self._read_page(wanted)
        async with AsyncExitStack() as slot:
            try:
                await slot.enter_async_context(self._unindexed.take(client, MAX_WAIT_SECONDS))
            except TimeoutError:
                raise TooManySearches("too many searches that no index answers: try again") from None
            return await self._read_page(wanted)

    async def _is_indexed(self, wanted: OrderFilter) -> bool:
        """Whether indexes find what it names."""
        sql = "select orderwire.is_filter_indexed($1, $2)"
        (row,) = await self._fetch(sql, list(wanted.statuses) or None, wanted.search)
        return bool(row[0])

    async def _read_page(self, wanted: OrderPageRequest) -> OrderPage:
        after = wanted.after or (None, None)
        row = first_row(await self._fetch(_FIND_SQL, *filter_arguments(wanted.filter), *after, wanted.limit, SEARCH_TIME))
        next_cursor = None if row["next_key"] is None else ListCursor(row["next_value"], row["next_key"])
        return OrderPage(row["orders"], next_cursor, row["complete"], position_of(row), row["searched_to"])

    async def _find_own(self, wanted: OrderPageRequest, owner: OrderOwner) -> OrderPage:
        """Looks at MAX_SEARCHED orders of a customer, who has few."""
        after = wanted.after or (None, None)
        rows = await self._fetch(
            _FIND_OWN_SQL,
            *filter_arguments(wanted.filter),
            *after,
            owner.subject,
            list(owner.keys),
            MAX_SEARCHED + 1,
        )
        position = position_of(first_row(rows))
        looked_at = [row for row in rows if row["key"] is not None]
        found = [row for row in looked_at[:MAX_SEARCHED] if row["is_match"]]
        listed = [row["order_json"] for row in found[: wanted.limit]]
        if len(found) > wanted.limit:
            return OrderPage(listed, _cursor(found[wanted.limit - 1]), True, position)
        if len(looked_at) > MAX_SEARCHED:
            last = looked_at[MAX_SEARCHED - 1]
            return OrderPage(listed, _cursor(last), False, position, last["created_at"])
        return OrderPage(listed, None, True, position)

    async def search_indexed(self) -> bool:
        """Whether indexes of the attached table answer every search that is not too short for them."""
        (row,) = await self._fetch("select orderwire.search_indexed()")
        return bool(row[0])


def filter_arguments(wanted: OrderFilter) -> tuple[Any, ...]:
    """The arguments of the SQL functions that find orders: statuses, from, to, search."""
    return (list(wanted.statuses) or None, wanted.created_from, wanted.created_to, wanted.search)


def _cursor(row: asyncpg.Record) -> ListCursor:
    return ListCursor(row["sort_value"], row["key"])
