"""Guesses which rows are orders: no carts, no drafts, no rows that are marked as deleted."""

from __future__ import annotations

import re

from db.attach.facts import Column, quote_literal
from db.attach.guess import Choice, Guess
from db.attach.guess_columns import joined_name, matches
from db.attach.guess_status import statuses_of
from db.attach.vocabulary import is_cart

__all__ = ["guess_where"]

_PLACED_AT = re.compile(r"(order_)?placed_at|completed_at|checkout_completed_at|submitted_at|finalized_at|purchased_at")
_DELETED_WORDS = (
    r"(deleted|removed|geloescht|entfernt|usuniet[oyea]|skasowan[oyea]|eliminad[oa]|borrad[oa]|excluid[oa]|apagad[oa]|supprimee?"
    r"|eliminat[oa]|cancellat[oa]_il|verwijderd|smazano|borttagen|slettet|удален[оа]?)"
)
_DELETED_AT = re.compile(
    _DELETED_WORDS + r"(_?(at|on|am|date|datum|time|utc|on_utc|op|le|en|em|il|w|dnia))?"
    r"|(data_usuniecia|loesch_?datum|fecha_(de_)?(eliminacion|borrado)|date_(de_)?suppression|data_(de_)?exclusao|дата_удаления)"
)
_DELETED = re.compile(rf"((is|ist|jest|czy)_)?{_DELETED_WORDS}|soft_deleted")
_IS_DRAFT = re.compile(r"is_(draft|cart|quote|draft_order|basket)|draft|draft_order")


def guess_where(guess: Guess, status: Column | None) -> None:
    """Choose ``where``. ``status`` is the column of the status, if there is one."""
    table = guess.table
    conditions: list[str] = []
    reasons: list[str] = []
    statuses = statuses_of(guess, status)
    carts = sorted(value for value in statuses if is_cart(value, statuses))
    placed = None
    for column in table.columns:
        if column.is_time and not column.not_null and _PLACED_AT.fullmatch(joined_name(column)):
            counts = table.sampled(column.name)
            is_late = joined_name(column) == "completed_at" and not carts  # the end of an order, not of its checkout
            if not is_late and (None in counts or not counts or carts):
                placed = column
    if placed is not None:
        conditions.append(f"{placed.sql} is not null")
        reasons.append(f"{placed.name} is null for carts")
    elif carts and status is not None and "status" in guess.choices and guess.choices["status"].value == status.name:
        values = ", ".join(quote_literal(value) if not status.is_integer else value for value in carts)
        comparison = f"{status.sql} not in ({values})" if len(carts) > 1 else f"{status.sql} <> {values}"
        if None in table.sampled(status.name):
            comparison = f"({comparison} or {status.sql} is null)"
        conditions.append(comparison)
        reasons.append(f"{', '.join(carts)}: no orders yet")
    knows_deleted = False
    for column in table.columns:
        if column.type == "boolean" and matches(_IS_DRAFT, column):
            conditions.append(_is_false(column))
            reasons.append(f"{column.name}: no orders yet")
        elif column.is_time and not column.not_null and matches(_DELETED_AT, column):
            conditions.append(f"{column.sql} is null")
            reasons.append(f"{column.name} marks deleted rows")
            knows_deleted = True
        elif column.type == "boolean" and matches(_DELETED, column):
            conditions.append(_is_false(column))
            reasons.append(f"{column.name} marks deleted rows")
            knows_deleted = True
    if conditions:
        guess.choices["where"] = Choice(" and ".join(conditions), "; ".join(reasons))
    if not knows_deleted:
        every = "" if conditions else "; every row is an order"
        guess.notes.append(f"where: no column looks like a mark of deletion{every}")


def _is_false(column: Column) -> str:
    return f"not {column.sql}" if column.not_null else f"{column.sql} is not true"
