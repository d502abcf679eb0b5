"""Orders as CSV (RFC 4180), for spreadsheets. Values only: ``db`` reads the orders, ``gateway`` sends the text."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

__all__ = ["ExportedOrder", "OrderExport", "csv_head", "csv_rows"]

COLUMNS = ("key", "number", "created_at", "customer_name", "customer_id", "total", "currency", "status")
# A cell that begins with one of these is a formula to a spreadsheet, unless it is a negative number. So is what follows a
# separator inside of a cell: a spreadsheet of a language with decimal commas splits at semicolons, also in quotes that it takes
# for a part of the text.
_SIGNS = "=+\\-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
_FORMULA = re.compile(rf"^(?=[{_SIGNS}\t\r\n])|(?<=[;\t\r\n])(?=[ \"]*[{_SIGNS}])")
_NUMBER = re.compile(r"-[0-9]+(\.[0-9]+)?")


class ExportedOrder(NamedTuple):
    """An order as it is exported. ``created_at`` is RFC 3339 in UTC; ``total`` a decimal; ``data`` a JSON object
    of texts and nulls."""

    key: str
    number: str | None
    created_at: str | None
    customer_name: str | None
    customer_id: str | None
    total: str | None
    currency: str | None
    status: str | None
    data: str | None


@dataclass(frozen=True, slots=True)
class OrderExport:
    """``members``: the names of the map's data. ``batches``: the orders, newest first, all of one snapshot."""

    members: Sequence[str]
    batches: AsyncGenerator[list[ExportedOrder], None]


def csv_head(members: Sequence[str]) -> bytes:
    """The first line, behind the mark that says to spreadsheets that the text is UTF-8."""
    return "\N{BYTE ORDER MARK}".encode() + _encode([[*COLUMNS, *members]])


def csv_rows(orders: Iterable[ExportedOrder], members: Sequence[str], zone: tzinfo) -> bytes:
    """A line for each order. Times are RFC 3339 in ``zone``, texts whole, and what is null is empty."""
    return _encode(_cells(order, members, zone) for order in orders)


def _cells(order: ExportedOrder, members: Sequence[str], zone: tzinfo) -> list[str | None]:
    values: dict[str, str | None] = json.loads(order.data) if order.data else {}
    cells: list[str | None] = list(order[:-1])
    cells[2] = None if order.created_at is None else _local_time(order.created_at, zone)
    return [*cells, *(values.get(name) for name in members)]


def _local_time(text: str, zone: tzinfo) -> str:
    try:
        local = datetime.fromisoformat(text).astimezone(zone)
        offset = local.utcoffset()
        if offset and offset.total_seconds() % 60:
            local = local.astimezone(UTC)  # RFC 3339 has no seconds in an offset; clocks before time zones had
    except OverflowError:  # at the ends of the calendar
        return text
    return local.isoformat().replace("+00:00", "Z")


def _encode(rows: Iterable[Sequence[str | None]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    for row in rows:
        writer.writerow([_neutralized(cell) for cell in row])
    return text.getvalue().encode(errors="replace")


def _neutralized(cell: str | None) -> str:
    if not cell or _NUMBER.fullmatch(cell):
        return cell or ""
    return _FORMULA.sub("'", cell)
