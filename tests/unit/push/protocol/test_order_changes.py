"""The name under which the journal has a change by a subject."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.protocol.order_changes import author_name

SUBJECTS = st.text(min_size=1, max_size=200)


@given(SUBJECTS)
def test_it_is_what_postgresql_keeps_as_it_is(subject: str) -> None:
    name = author_name(subject)
    assert name.startswith("dashboard: ")
    assert len(name) <= 63
    assert all(" " <= character <= "~" for character in name)


@given(SUBJECTS, SUBJECTS)
def test_it_differs_for_different_subjects(one: str, other: str) -> None:
    if one != other:
        assert author_name(one) != author_name(other)


def test_the_name_of_a_long_subject_is_not_that_of_another() -> None:
    long_name = author_name("x" * 53)
    assert author_name(long_name.removeprefix("dashboard: ")) != long_name


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        (None, "dashboard"),
        ("user 7", "dashboard: user 7"),
        ("100%", "dashboard: 100%25"),
        ("é", "dashboard: %C3%A9"),
        ("a~b", "dashboard: a%7Eb"),
        ("x" * 52, "dashboard: " + "x" * 52),
        ("x" * 53, "dashboard: " + "x" * 35 + "~8a04a39a6914f857"),
    ],
)
def test_examples(subject: str | None, name: str) -> None:
    assert author_name(subject) == name
