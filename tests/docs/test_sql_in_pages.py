"""The queries that pages offer run, and answer what the page says."""

from __future__ import annotations

import re
from typing import Any

from tests.docs.pages import ROOT


def queries(page: str) -> list[str]:
    """The SQL of a page that only reads."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [block for block in re.findall(r"^```sql\n(.*?)^```$", text, flags=re.M | re.S) if block.startswith("select")]


async def test_what_orderwire_needs_of_a_managed_postgres_can_be_asked(db: Any) -> None:
    (query,) = queries("how-to/managed-postgres.md")
    answer = await db.fetchrow(query)
    assert len(answer) == 6
    assert all(value is True for value in answer.values())


async def test_the_size_of_the_journal_can_be_asked(db: Any) -> None:
    (query,) = queries("reference/capacity.md")
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1), ('Bert', 2)")
    answer = await db.fetchrow(query)
    assert answer["events"] == 2
    assert re.fullmatch(r"\d+ kB", answer["size"])
