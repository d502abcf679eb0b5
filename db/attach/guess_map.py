"""Guesses the map of a table from its columns, keys and sampled values, and says why. Pure: the facts come from catalog.py."""

from __future__ import annotations

import re
from collections.abc import Mapping

from db.attach.facts import Column, Table, split_words, word_set
from db.attach.guess import Choice, Guess
from db.attach.guess_columns import best_column, joined_name
from db.attach.guess_customer import guess_customer_id, guess_customer_name
from db.attach.guess_money import guess_currency, guess_total
from db.attach.guess_status import guess_status, guess_status_lists
from db.attach.guess_where import guess_where
from db.attach.vocabulary import SYSTEMS, table_name_score

__all__ = ["guess_map", "guess_stream"]

_KEY_TYPES = frozenset({"smallint", "integer", "bigint", "uuid", "text", "character varying", "character"})
_NO_NUMBER_OF_AN_ORDER = word_set(
    "phone vat tax card house street tracking items customer zip postal bank account version line lines table"
)
_ORDER_CODE = re.compile(r"[A-Za-z#/]{0,8}[-#/ ]?\d[\w/-]*")


def guess_map(table: Table, others: Mapping[str, Table] | None = None) -> Guess:
    """The map of a table of orders. ``others`` are tables by their name, for what foreign keys refer to."""
    guess = Guess(table, score=table_name_score(table.relation))
    guess.system = _known_system(table)
    if guess.system:
        guess.score += 10
    _guess_key(guess)
    status = guess_status(guess)
    guess_where(guess, status)
    _guess_created_at(guess)
    _guess_number(guess)
    customer = guess_customer_id(guess, others or {})
    guess_customer_name(guess, customer, others or {})
    guess_currency(guess)
    guess_total(guess, others or {})
    if status is not None:
        guess_status_lists(guess, status)
    weights = {"total": 15, "status": 12, "created_at": 8, "customer_id": 6, "customer_name": 4, "number": 8, "currency": 5}
    guess.score += sum(weight for member, weight in weights.items() if member in guess.choices)
    if any(_looks_like_orders(key.table) for key in table.foreign_keys) and table_name_score(table.relation) < 50:
        guess.score -= 40  # a part of an order
    if "key" not in guess.choices:
        guess.score -= 50
    return guess


def guess_stream(table: Table, orders: Table | None = None, orders_key: Column | None = None) -> Guess:
    """The map of a stream. ``orders`` is the attached table of orders, ``orders_key`` the column that is its key."""
    guess = Guess(table)
    _guess_key(guess)
    key = next((key for key in table.foreign_keys if orders is not None and key.table == orders.name), None)
    column = table.column(orders_key.name) if orders_key is not None and joined_name(orders_key) not in ("id", "uuid") else None
    if orders is not None and key is not None:
        guess.choices["order_key"] = Choice(key.column, f"refers to {orders.name}: its events also go to order:<key>")
    elif orders is not None and orders_key is not None and column is not None and column.type == orders_key.type:
        guess.choices["order_key"] = Choice(
            column.name, f"named like the key of {orders.name}: its events also go to order:<key>", is_sure=False
        )
    columns = [
        column.name
        for column in table.columns
        if column.type in {"bigint", "integer", "smallint", "numeric", "boolean", "uuid", "date", "enum", "text"}
        or column.type in {"character varying", "character", "timestamp with time zone", "timestamp without time zone"}
    ]
    columns = [name for name in columns if name != guess.map.get("key") and not _is_secret(name)][:12]
    if columns:
        guess.choices["data"] = Choice(columns, "what events carry, at most 6,000 bytes")
    return guess


def _guess_key(guess: Guess) -> None:
    table = guess.table
    by_name = {column.name: column for column in table.columns}
    usable = [
        index
        for index in table.indexes
        if index.is_unique
        and all(name in by_name and by_name[name].not_null and by_name[name].type in _KEY_TYPES for name in index.columns)
    ]
    if usable:
        index = min(usable, key=lambda index: (not index.is_primary, len(index.columns)))
        names = list(index.columns)
        kind = "the primary key" if index.is_primary else "unique and not null"
        types = ", ".join(by_name[name].type for name in names)
        guess.choices["key"] = Choice(names[0] if len(names) == 1 else names, f"{kind}, {types}")
        if len(names) == 1 or not table.is_partitioned:
            return
    # The unique index of a partitioned table holds the partition's column too.
    for index in sorted((i for i in table.indexes if i.is_unique), key=lambda index: not index.is_primary):
        names = [name for name in index.columns if name not in table.partition_columns]
        if len(names) == 1 and names[0] in by_name and table.is_partitioned and by_name[names[0]].type in _KEY_TYPES:
            counts = table.sampled(names[0])
            if counts and max(counts.values()) > 1:
                continue
            guess.choices["key"] = Choice(
                names[0], f"unique together with the partition's {', '.join(table.partition_columns)}, {by_name[names[0]].type}"
            )
            guess.choices["key_is_unique"] = Choice(
                True, "no index can enforce it: make sure that no two partitions have the same key", is_sure=False
            )
            return
    if "key" not in guess.choices:
        guess.notes.append("key: no column is unique and not null, and no list of columns either: the table cannot be attached")


def _guess_created_at(guess: Guess) -> None:
    table = guess.table
    where = guess.choices["where"].value if "where" in guess.choices else ""

    def score(column: Column, named: int) -> int:
        if column.is_integer:
            return named - 10 if _epoch_unit(table, column) and named >= 90 else 0
        if not column.is_time:
            return 0
        return named - (0 if column.not_null else 15) - (20 if column.type == "date" else 0)

    placed = [column for column in table.columns if column.is_time and f"{column.sql} is not null" in where]
    column = placed[0] if placed else best_column(table, "created_at", score)
    if column is None:
        guess.notes.append("created_at: no column looks like one; lists are then ordered by the key")
        return
    reason = "when the cart became an order" if placed else "by its name"
    if column.is_integer:
        unit = _epoch_unit(table, column)
        guess.choices["created_at"] = Choice(
            f"to_timestamp({column.sql}{' / 1000.0' if unit == 'milliseconds' else ''})", f"{reason}; {unit} since 1970"
        )
    elif column.type == "timestamp with time zone":
        guess.choices["created_at"] = Choice(column.name, f"{reason}, {column.type}")
    elif column.type == "date":
        guess.choices["created_at"] = Choice(
            f"{column.sql}::timestamp at time zone 'UTC'", f"{reason}, a date without a time", is_sure=False
        )
    else:
        guess.choices["created_at"] = Choice(
            f"{column.sql} at time zone 'UTC'", f"{reason}; without a time zone: taken for UTC", is_sure=False
        )


def _guess_number(guess: Guess) -> None:
    table = guess.table
    key = guess.map.get("key")
    status = guess.map.get("status")

    def score(column: Column, named: int) -> int:
        if set(split_words(column.name)) & _NO_NUMBER_OF_AN_ORDER or column.name in (key, status):
            return 0
        if not (column.is_text or column.is_integer or column.type == "numeric"):
            return 0
        counts = {value: count for value, count in table.sampled(column.name).items() if value is not None}
        if counts and sum(counts.values()) > 1.1 * len(counts) and sum(counts.values()) >= 10:
            return 0  # many rows share it
        if named <= 60:
            codes = sum(bool(_ORDER_CODE.fullmatch(value)) for value in counts)
            return named + 20 if counts and codes >= 0.8 * len(counts) else 0
        return named

    column = best_column(table, "number", score)
    if column is not None:
        sample = next((value for value in table.sampled(column.name) if value), None)
        reason = "by its name" if not sample else f"by its name; values such as {_short(sample)}"
        if joined_name(column) == "name":
            reason = f"its values look like numbers of orders: {_short(sample or '')}"
        guess.choices["number"] = Choice(column.name, reason)


def _epoch_unit(table: Table, column: Column) -> str | None:
    """Whether integers are seconds or milliseconds since 1970; None if neither."""
    values = [int(value) for value in table.sampled(column.name) if value is not None]
    if values and all(1_000_000_000 <= value < 5_000_000_000 for value in values):
        return "seconds"
    if values and all(1_000_000_000_000 <= value < 5_000_000_000_000 for value in values):
        return "milliseconds"
    return None


def _is_secret(name: str) -> bool:
    return bool(set(split_words(name)) & {"password", "token", "secret", "hash", "salt", "iban", "card", "ssn"})


def _looks_like_orders(name: str) -> bool:
    return table_name_score(name.rsplit(".", 1)[-1].strip('"')) >= 45


def _known_system(table: Table) -> str | None:
    names = {column.name for column in table.columns}
    if table_name_score(table.relation) < 20:
        return None
    return next((system for system, columns in SYSTEMS.items() if columns <= names), None)


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"
