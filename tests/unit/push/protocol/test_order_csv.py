"""Orders as CSV: what RFC 4180 says, and what spreadsheets make of cells."""

from __future__ import annotations

import csv
import io
import re
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.protocol.order_csv import COLUMNS, ExportedOrder, csv_head, csv_rows

WARSAW = ZoneInfo("Europe/Warsaw")
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=30)


def order(**fields: str | None) -> ExportedOrder:
    return ExportedOrder(**{**dict.fromkeys(ExportedOrder._fields), "key": "1", **fields})  # type: ignore[arg-type]


def cells(exported: ExportedOrder, members: tuple[str, ...] = ()) -> list[str]:
    (row,) = csv.reader(io.StringIO(csv_rows([exported], members, WARSAW).decode(), newline=""))
    return row


def test_the_first_line_names_the_columns_behind_a_byte_order_mark() -> None:
    assert csv_head(("table", "=x")) == b"\xef\xbb\xbf" + f"{','.join(COLUMNS)},table,'=x\r\n".encode()


def test_cells_are_quoted_where_they_have_to_be() -> None:
    text = csv_rows([order(number='a,"b"', customer_name="x\ny", total="1.50")], (), WARSAW)
    assert text == b'1,"a,""b""",,"x\ny",,1.50,,\r\n'


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+48 123", "-x", "-1-1", "@x", "\tx", "\rx", "\nx", "-", "=", "-1.5e3", "＝1+1", "＋1", "－x", "＠x"],
)
def test_a_cell_that_would_be_a_formula_begins_with_an_apostrophe(text: str) -> None:
    row = cells(order(number=text, customer_name=text, customer_id=text, currency=text, status=text, data='{"n":"=1"}'), ("n",))
    assert row == ["1", f"'{text}", "", f"'{text}", f"'{text}", "", f"'{text}", f"'{text}", "'=1"]


@pytest.mark.parametrize(
    ("text", "exported"),
    [
        ("Anna;=1+1", "Anna;'=1+1"),
        ("Anna;＝1+1", "Anna;'＝1+1"),
        ("Anna\t=1+1", "Anna\t'=1+1"),
        ("Anna\n@x", "Anna\n'@x"),
        ("Anna\r\n+1", "Anna\r\n'+1"),
        ("Anna;-1", "Anna;'-1"),  # what follows the decimal comma is the next cell's
        ('Anna; "=1+1"', 'Anna;\' "=1+1"'),
        ("=a;=b;;@c", "'=a;'=b;;'@c"),
        ("\n=x", "'\n'=x"),
        ("Anna; B-C = 1+1, d@e;f", "Anna; B-C = 1+1, d@e;f"),
    ],
)
def test_a_formula_after_a_separator_begins_with_an_apostrophe(text: str, exported: str) -> None:
    """Spreadsheets of some languages split lines at semicolons, or at tabs."""
    assert cells(order(customer_name=text))[3] == exported


def test_negative_numbers_are_numbers() -> None:
    assert cells(order(key="-5", total="-12.50", data='{"n":"-3","m":"-0.10"}'), ("n", "m")) == [
        *("-5", "", "", "", "", "-12.50", "", ""),
        *("-3", "-0.10"),
    ]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("2026-01-31T23:30:00.000000Z", "2026-02-01T00:30:00+01:00"),
        ("2026-07-01T12:00:00.123456Z", "2026-07-01T14:00:00.123456+02:00"),
        ("1900-01-01T00:00:00.000000Z", "1900-01-01T01:24:00+01:24"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),  # there is no later year
        (None, ""),
    ],
)
def test_times_are_those_of_the_zone(stored: str | None, shown: str) -> None:
    assert cells(order(created_at=stored))[2] == shown


def test_an_offset_with_seconds_and_utc() -> None:
    stored = order(created_at="1900-01-01T00:00:00.000000Z")
    assert csv_rows([stored], (), ZoneInfo("Europe/Amsterdam")).decode().split(",")[2] in (
        "1900-01-01T00:00:00Z",
        "1900-01-01T00:18:00+00:18",  # in other versions of the time zones
    )
    assert csv_rows([stored], (), ZoneInfo("UTC")).decode().split(",")[2] == "1900-01-01T00:00:00Z"


def test_members_of_data_are_further_cells() -> None:
    row = cells(order(data='{"t":"ä","n":"12345678901234567890.10","z":null}'), ("n", "t", "z", "missing"))
    assert row[8:] == ["12345678901234567890.10", "ä", "", ""]


@given(TEXT, TEXT)
def test_any_text_comes_back(number: str, name: str) -> None:
    row = cells(order(number=number, customer_name=name))
    for text, cell in ((number, row[1]), (name, row[3])):
        assert cell.replace("'", "") == text.replace("'", "")
        assert cell[:1] not in "=+@\t\n" or not cell
        assert not re.search(r"[;\t\n][=+\-@]", cell)
