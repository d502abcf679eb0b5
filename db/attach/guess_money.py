"""Guesses the total and its currency."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from db.attach.facts import NUMBER_TYPES, Column, Table, split_words, word_set
from db.attach.guess import Choice, Guess
from db.attach.guess_columns import best_column, joined_name, matches

__all__ = ["guess_currency", "guess_total"]

_NO_MONEY_OF_AN_ORDER = word_set(
    "tax vat shipping discount sub subtotal net refund refunded paid due weight qty quantity count item items "
    "adjustment payment promo undiscounted base captured authorized authorised charge residual balance unpaid untaxed "
    "excl excluding fee tip rate outstanding undelivered uninvoiced "
    "netto mwst ust steuer versand versandkosten rabatt gutschein liefer lieferkosten anzahl menge gewicht podatek rabat "
    "dostawa dostawy waga wysylka wysylki ilosc impuesto iva envio descuento peso frete desconto remise livraison tva poids "
    "spedizione sconto"
)
_MINOR_UNITS = re.compile(r"_?(cents?|minor|minor_units|pence|kopecks|centow|grosze|groszy|gr|centimos|centavos|centimes|ore)$")
_IN_MINOR_UNITS = re.compile(r".+_" + _MINOR_UNITS.pattern.removeprefix("_?"))


def guess_currency(guess: Guess) -> None:
    """Choose ``currency`` and ``total_currency``."""
    table = guess.table

    def score(column: Column, named: int) -> int:
        if not (column.is_text or column.type == "enum"):
            return 0
        values = [value for value in table.sampled(column.name) if value is not None]
        if values and not all(re.fullmatch(r"[A-Za-z]{3}", value.strip()) for value in values):
            return 0
        return named

    column = best_column(table, "currency", score)
    if column is None:
        if any(re.fullmatch(r"currency_id", joined_name(column)) for column in table.columns):
            guess.notes.append(
                "currency: it is in another table, which a map may not read for totals. If there is one: currency = \"'EUR'\""
            )
        return
    counts = {value: count for value, count in table.sampled(column.name).items() if value is not None}
    guess.choices["currency"] = Choice(column.name, "by its name" + (f"; {', '.join(list(counts)[:5])}" if counts else ""))
    if counts:
        most = max(counts, key=lambda value: counts[value])
        reason = "the currency of total_revenue" + ("; the most frequent" if len(counts) > 1 else "")
        guess.choices["total_currency"] = Choice(most, reason)


def guess_total(guess: Guess, others: Mapping[str, Table]) -> None:
    """Choose ``total``, in units of the currency. The currency is guessed before, since it says what an integer counts."""
    table = guess.table

    def score(column: Column, named: int) -> int:
        if column.type not in NUMBER_TYPES:
            return 0
        if named < 95 and set(split_words(column.name)) & _NO_MONEY_OF_AN_ORDER:
            return 0
        return named

    column = best_column(table, "total", score)
    if column is not None:
        _choose_total(guess, column.sql, column, "by its name")
        return
    units = [
        column
        for column in _numbers(table)
        if matches(_IN_MINOR_UNITS, column) and not set(split_words(column.name)) & _NO_MONEY_OF_AN_ORDER
    ]
    if len(units) == 1:
        _choose_total(guess, units[0].sql, units[0], "the only column with a unit of money")
        guess.choices["total"] = replace(guess.choices["total"], is_sure=False)
        return
    for suffix in ("_with_tax", ""):
        parts = [
            column
            for column in table.columns
            if column.type in NUMBER_TYPES
            and joined_name(column) in (f"sub_total{suffix}", f"subtotal{suffix}", f"shipping{suffix}")
        ]
        if len(parts) == 2:
            sql = f"({parts[0].sql}::numeric + {parts[1].sql})"
            _choose_total(guess, sql, parts[0], f"no column has the total; {parts[0].name} and {parts[1].name} make it up")
            return
    elsewhere = sorted(
        other.name
        for other in others.values()
        if any(key.table == table.name for key in other.foreign_keys)
        and any(set(split_words(column.name)) & {"total", "totals", "amount", "price"} for column in other.columns)
    )
    where = f" ({', '.join(elsewhere[:4])} may have it)" if elsewhere else ""
    numbers = [column.name for column in _numbers(table)]
    guess.notes.append(
        f"total: no column looks like one{where}; numeric columns are {', '.join(numbers) or 'none'}. "
        "A map reads only the row, so that totals are exact: keep the total in "
        f"a column of {table.name}, or do without revenue"
    )


def _choose_total(guess: Guess, sql: str, column: Column, reason: str) -> None:
    is_plain = sql == column.sql
    if not column.is_integer:
        doubt = column.type in ("real", "double precision")
        guess.choices["total"] = Choice(
            column.name if is_plain else sql,
            f"{reason}, {_type_of(column)}" + ("; not exact" if doubt else ""),
            is_sure=not doubt,
        )
        return
    counts = {value for value in guess.table.sampled(guess.map.get("currency", "")) if value}
    whole = counts & {"JPY", "KRW", "VND", "CLP", "ISK", "HUF", "jpy", "krw", "vnd", "clp", "isk"}
    if _MINOR_UNITS.search(joined_name(column)):
        guess.choices["total"] = Choice(f"{sql} * 0.01", f"{reason}; in hundredths, as its name says")
    elif "currency" in guess.choices and not whole:
        guess.choices["total"] = Choice(
            f"{sql} * 0.01", f"{reason}; an integer beside a currency: taken for hundredths", is_sure=False
        )
    else:
        guess.choices["total"] = Choice(
            column.name if is_plain else sql, f"{reason}; an integer: if it counts cents, write {sql} * 0.01", is_sure=False
        )


def _numbers(table: Table) -> list[Column]:
    """Columns of numbers that may mean something else than the identity of a row."""
    return [
        column
        for column in table.columns
        if column.type in NUMBER_TYPES
        and not column.is_virtual
        and table.foreign_key(column.name) is None
        and not any(index.is_primary and column.name in index.columns for index in table.indexes)
        and split_words(column.name)[-1:] != ("id",)
    ]


def _type_of(column: Column) -> str:
    return column.type if column.precision is None else f"{column.type}({column.precision},{column.scale})"
