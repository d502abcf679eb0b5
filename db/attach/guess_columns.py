"""Columns by their names: how well a name fits a member of the map."""

from __future__ import annotations

import re
from collections.abc import Callable

from db.attach.facts import Column, Table, spellings, split_words
from db.attach.vocabulary import NAME_PATTERNS

__all__ = ["best_column", "joined_name", "matches"]

# A column is taken from this score on.
_LEAST_SCORE = 40


def best_column(table: Table, member: str, score: Callable[[Column, int], int]) -> Column | None:
    """The column with the highest score for a member of the map; the first of equal ones. None if no score is high enough.

    ``score`` is called with each column whose name fits, and how well it fits: 100 where the name says it all.
    """
    best: tuple[int, Column | None] = (_LEAST_SCORE - 1, None)
    for column in table.columns:
        if column.is_virtual:
            continue
        named = _name_score(column, member)
        if named:
            scored = score(column, named)
            if scored > best[0]:
                best = (scored, column)
    return best[1]


def _name_score(column: Column, member: str) -> int:
    return next((score for score, pattern in NAME_PATTERNS[member] if matches(pattern, column)), 0)


def matches(pattern: re.Pattern[str], column: Column) -> bool:
    """Whether the name, in one of its spellings, is what the pattern describes."""
    return any(pattern.fullmatch(name) for name in spellings(joined_name(column)))


def joined_name(column: Column) -> str:
    """The words of the name in lower case, joined by underscores."""
    return "_".join(split_words(column.name))
