"""Guesses the status, the names of its codes, and which statuses are pending or cancelled."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from db.attach.facts import Column, Table, quote_literal, split_words, word_set
from db.attach.guess import Choice, Guess
from db.attach.guess_columns import best_column, joined_name
from db.attach.vocabulary import CODES, is_cancelled, is_cart, is_known_status, is_pending, lifecycle_rank

__all__ = ["guess_status", "guess_status_lists", "statuses_of"]

MAX_STATUSES = 40
_NO_STATUS = word_set("country province address bill ship billing region")


def guess_status(guess: Guess) -> Column | None:
    """Choose ``status``. Returns its column; None if there is none."""
    table = guess.table

    def score(column: Column, named: int) -> int:
        words = set(split_words(column.name))
        if words & _NO_STATUS or not (column.is_text or column.is_integer or column.type == "enum"):
            return 0
        values = _status_values(table, column)
        if column.type == "boolean" or len(values) > MAX_STATUSES:
            return 0
        known = [value for value in values if is_known_status(value)]
        return named + (20 * len(known) // len(values) if values else 0) - (5 if column.is_integer else 0)

    column = best_column(table, "status", score) or _coded_status(guess)
    if column is None:
        guess.notes.append("status: no column looks like one")
        return None
    values = _status_values(table, column)
    named = _named_codes(guess, column)
    if named:
        cases = " ".join(
            f"when {quote_literal(code) if column.is_text else code} then {quote_literal(name)}" for code, name in named.items()
        )
        guess.choices["status"] = Choice(
            f"case {column.sql} {cases} else {column.sql}::text end",
            f"{column.name} has codes; their names "
            + (
                f"are those of {guess.system}"
                if guess.system in CODES
                else f"come from {_codes_table(table, column)}, as it is now"
            ),
        )
        return column
    known = [value for value in values if is_known_status(value)]
    reason = f"by its name; {len(values)} values" + (f", such as {values[0]!r}" if values else "")
    if column.type == "enum":
        reason = f"an enum of {len(column.labels)} labels"
    elif column.labels:
        reason = f"by its name; a check allows {len(column.labels)} values"
    if column.is_integer:
        reason += ": numbers, whose meaning only the shop knows; name them with case o.… when … then … end"
    guess.choices["status"] = Choice(column.name, reason, is_sure=bool(known) or not values)
    rest = [
        other.name
        for other in table.columns
        if other is not column
        and re.fullmatch(r"(payment|fulfil?lment|shipment|shipping|delivery)_(status|state)", joined_name(other))
    ]
    if rest:
        guess.notes.append(f"status: {', '.join(rest)} could be part of data, or the status if it says more than {column.name}")
    return column


def guess_status_lists(guess: Guess, status: Column) -> None:
    """Choose ``pending``, ``cancelled`` and ``statuses``. ``where`` is guessed before: what it excludes is in no list."""
    values = statuses_of(guess, status)
    where = guess.choices["where"].value if "where" in guess.choices else ""
    carts = [value for value in values if is_cart(value, values)] if status.sql in where or "is not null" in where else []
    values = [value for value in values if value not in carts]
    if not status.labels:
        values = sorted(values, key=lifecycle_rank)
    pending = [value for value in values if is_pending(value)]
    cancelled = [value for value in values if is_cancelled(value)]
    if pending:
        guess.choices["pending"] = Choice(pending, f"{_list(pending)}: waits for the shop")
    elif values:
        guess.notes.append("pending: no status is known to mean that an order waits; list those that do")
    if cancelled:
        guess.choices["cancelled"] = Choice(cancelled, f"{_list(cancelled)}: no revenue")
    elif values:
        guess.notes.append("cancelled: no status is known to mean that an order is no revenue; list those that do")
    else:
        guess.notes.append("pending, cancelled, statuses: the table has no rows yet; list the statuses that it will have")
    if values:
        guess.choices["statuses"] = Choice(values, "the order in which a dashboard shows them")


def statuses_of(guess: Guess, status: Column | None) -> list[str]:
    """The statuses as the map names them."""
    if status is None:
        return []
    values = _status_values(guess.table, status)
    named = _named_codes(guess, status)
    return list(dict.fromkeys([*named.values(), *(named.get(value, value) for value in values)])) if named else values


def _coded_status(guess: Guess) -> Column | None:
    """A column of numbers, of any name, that refers to a small table whose texts are mostly words for a status of orders."""
    for column in guess.table.columns:
        names = list(_named_codes(guess, column).values()) if column.is_integer and not column.is_virtual else []
        if 2 * sum(is_known_status(name) for name in names) > len(names):
            return column
    return None


def _status_values(table: Table, column: Column) -> list[str]:
    """The values of a status column: all that its type or a check allows, else those sampled, the most frequent first."""
    if column.labels:
        return list(column.labels)
    return [value for value in table.sampled(column.name) if value is not None]


def _named_codes(guess: Guess, status: Column) -> Mapping[str, str]:
    """What the codes of the column mean: of a known system, or of a small table that it refers to."""
    if guess.system in CODES and status.is_integer:
        return CODES[guess.system]
    rows = guess.table.lookups.get(status.name)
    key = guess.table.foreign_key(status.name)
    if not rows or key is None:
        return {}
    for name in ("code", "key", "slug", "name", "status", "label", "title", "bezeichnung", "nazwa", "nombre", "nom", "nome"):
        if name in rows[0] and name != key.target:
            return {row[key.target] or "": row[name] or "" for row in rows}
    texts = [name for name in rows[0] if name != key.target]
    return {row[key.target] or "": row[texts[0]] or "" for row in rows} if len(texts) == 1 else {}


def _codes_table(table: Table, column: Column) -> str:
    key = table.foreign_key(column.name)
    return key.table if key is not None else "?"


def _list(values: Sequence[str]) -> str:
    return ", ".join(values)
