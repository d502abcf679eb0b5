"""Cursors of lists of orders, and what a map says about statuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.errors import BadCursor
from push.protocol.order_list import ListCursor, ShopInfo
from tests.helpers.strategies import ANY_TEXT

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50)


@given(st.builds(ListCursor, st.none() | TEXT, TEXT))
def test_a_cursor_survives_its_text_which_a_url_can_hold(cursor: ListCursor) -> None:
    assert ListCursor.parse(str(cursor)) == cursor
    assert set(str(cursor)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(ANY_TEXT)
def test_any_other_text_is_no_cursor(text: str) -> None:
    try:
        cursor = ListCursor.parse(text)
    except BadCursor:
        return
    assert isinstance(cursor.key, str)


@pytest.mark.parametrize(
    "text", ["", "W10", "WzEsMl0", "bnVsbA", "WyJhIl0", "WyJcdTAwMDAiLCJhIl0", "WyJcdWQ4MDAiLCJhIl0", "A" * 2000]
)
def test_values_that_no_cursor_has_are_rejected(text: str) -> None:
    with pytest.raises(BadCursor):
        ListCursor.parse(text)


def test_statuses_are_in_the_order_of_the_map_and_complete() -> None:
    info = ShopInfo.from_map({"statuses": ["b", "a"], "pending": ["a", "n"], "cancelled": ["x", "b"]}, "public.t", ["s"])
    assert info == ShopInfo(["b", "a", "n", "x"], ["a", "n"], ["x", "b"], "public.t", ["s"])
    assert ShopInfo.from_map({}, None, []) == ShopInfo([], [], [], None, [])
