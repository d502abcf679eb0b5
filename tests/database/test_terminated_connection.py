"""A connection that another task terminates while a query is between two steps of the driver."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from db.errors import DatabaseUnavailable, wrap_driver_errors


class TerminatedMeanwhile(asyncpg.Connection):
    async def _get_statement(self, *args: Any, **options: Any) -> Any:
        statement = await super()._get_statement(*args, **options)  # type: ignore[misc]
        self.terminate()
        return statement


async def test_it_is_a_lost_connection(database_url: str) -> None:
    connection = await asyncpg.connect(database_url, connection_class=TerminatedMeanwhile)
    with pytest.raises(DatabaseUnavailable) as raised, wrap_driver_errors():
        await connection.fetchrow("select 1")
    assert str(raised.value) == "the connection is lost"
    assert isinstance(raised.value.__cause__, AttributeError)


def test_another_missing_attribute_is_a_fault_of_ours() -> None:
    with pytest.raises(AttributeError), wrap_driver_errors():
        None.fetchrow("select 1")  # type: ignore[attr-defined]
