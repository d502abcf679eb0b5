"""gateway.http.query: what a query parameter may be."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from multidict import MultiDict

from gateway.http.query import parse_int, parse_moment, parse_text, parse_texts

WARSAW = ZoneInfo("Europe/Warsaw")


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("1000", 1000), (None, None)])
def test_a_number_in_the_range_is_parsed(text: str | None, number: int | None) -> None:
    assert parse_int({} if text is None else {"limit": text}, "limit", 1, 1000) == number


@pytest.mark.parametrize("text", ["", "0", "1001", "-1", "+1", "1.0", "1e2", " 1", "٣", "9" * 20, "x"])
def test_all_else_is_a_bad_request_that_names_parameter_and_range(text: str) -> None:
    with pytest.raises(web.HTTPBadRequest) as raised:
        parse_int({"limit": text}, "limit", 1, 1000)
    assert raised.value.text == "limit: expected a whole number from 1 to 1000"


def test_a_text_is_any_that_a_database_can_hold() -> None:
    for text in ("ready", "в пути", " ", "x" * 100):
        assert parse_text({"status": text}, "status", 100) == text
    assert parse_text({}, "status", 100) is None
    assert parse_text({"status": ""}, "status", 100) is None
    for text in ("ready\0", "\ud800", "x" * 101):
        with pytest.raises(web.HTTPBadRequest) as raised:
            parse_text({"status": text}, "status", 100)
        assert raised.value.text == "status: expected a text of up to 100 characters"


def test_a_repeated_text_is_a_list_without_empty_ones() -> None:
    query = MultiDict([("status", "ready"), ("status", ""), ("status", "x"), ("other", "y")])
    assert parse_texts(query, "status", 100, 2) == ["ready", "x"]
    assert parse_texts(MultiDict[str](), "status", 100, 2) == []
    for name, text in (
        ("status", "status: expected at most 1 of these"),
        ("other", "other: expected a text of up to 0 characters"),
    ):
        with pytest.raises(web.HTTPBadRequest) as raised:
            parse_texts(query, name, 0 if name == "other" else 100, 1)
        assert raised.value.text == text


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 30, 23, tzinfo=UTC)),
        ("2026-07-01", datetime(2026, 6, 30, 22, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00.25+01:30", datetime(2026, 1, 31, 10, 30, 0, 250000, UTC)),
        ("2026-01-31T12:00:00 01:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("2026-01-31T12:00:00-01:00", datetime(2026, 1, 31, 13, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_a_moment_is_rfc_3339_or_the_beginning_of_a_day(text: str | None, moment: datetime | None) -> None:
    assert parse_moment({} if text is None else {"from": text}, "from", WARSAW) == moment


@pytest.mark.parametrize(
    "text",
    [
        *("2026", "2026-1-1", "20260131", "2026-02-30", "0000-01-01", "0001-01-01", "٢٠٢٦-01-01", "now", "2026-W05-1"),
        *("2026-01-31T12:00Z", "2026-01-31T12:00:00", "2026-01-31T24:00:01Z", "2026-01-31T12:00:00+24:00"),
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_what_is_no_moment_is_a_bad_request(text: str) -> None:
    with pytest.raises(web.HTTPBadRequest, match="Bad Request") as raised:
        parse_moment({"from": text}, "from", WARSAW)
    assert (raised.value.text or "").startswith("from: expected a date like 2026-01-31, or a time like 2026-01-31T12:00:00")
