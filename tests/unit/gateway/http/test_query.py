"""gateway.http.query: what a query parameter may be."""

from __future__ import annotations

import pytest
from aiohttp import web

from gateway.http.query import parse_int, parse_text


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
