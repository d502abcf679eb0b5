"""gateway.http.query: what a query parameter may be."""

from __future__ import annotations

import pytest
from aiohttp import web

from gateway.http.query import parse_choice, parse_int


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("1000", 1000), (None, None)])
def test_a_number_in_the_range_is_parsed(text: str | None, number: int | None) -> None:
    assert parse_int({} if text is None else {"limit": text}, "limit", 1, 1000) == number


@pytest.mark.parametrize("text", ["", "0", "1001", "-1", "+1", "1.0", "1e2", " 1", "٣", "9" * 20, "x"])
def test_all_else_is_a_bad_request_that_names_parameter_and_range(text: str) -> None:
    with pytest.raises(web.HTTPBadRequest) as raised:
        parse_int({"limit": text}, "limit", 1, 1000)
    assert raised.value.text == "limit: expected a whole number from 1 to 1000"


def test_a_choice_must_be_one_of_the_words() -> None:
    assert parse_choice({"status": "ready"}, "status", ("pending", "ready")) == "ready"
    assert parse_choice({}, "status", ("pending", "ready")) is None
    for text in ("", "Ready", "ready\0", "done"):
        with pytest.raises(web.HTTPBadRequest) as raised:
            parse_choice({"status": text}, "status", ("pending", "ready"))
        assert raised.value.text == "status: expected one of pending, ready"
