"""Guesses who the customer is: the identity, and the name, which may be in another table."""

from __future__ import annotations

import re
from collections.abc import Mapping

from db.attach.facts import Column, ForeignKey, Table, quote_identifier, split_words, word_set
from db.attach.guess import Choice, Guess
from db.attach.guess_columns import best_column, joined_name

__all__ = ["guess_customer_id", "guess_customer_name"]

_NO_CUSTOMER = word_set("seller vendor courier admin staff employee created updated deleted sales group type count")
_EMAIL = re.compile(r"((user|customer|guest|contact|buyer|client|kunden?)_)?e?_?mail(_address|_adresse)?")
_FIRST_AND_LAST_NAMES = (
    (("first_name", "firstname", "given_name", "fname"), ("last_name", "lastname", "surname", "family_name", "lname")),
    (("vorname",), ("nachname", "name")),
    (("imie", "imię"), ("nazwisko",)),
    (("nombre",), ("apellido", "apellidos")),
    (("prenom", "prénom"), ("nom",)),
    (("nome",), ("cognome", "sobrenome")),
)


def guess_customer_id(guess: Guess, others: Mapping[str, Table]) -> Column | None:
    """Choose ``customer_id``. Returns the column that refers to a customer, if any; else an e-mail address is chosen."""
    table = guess.table
    key = guess.map.get("key")

    def score(column: Column, named: int) -> int:
        if set(split_words(column.name)) & _NO_CUSTOMER or column.name == key:
            return 0
        is_identifier = column.is_integer or column.type == "uuid"
        refers = _referred_key(table, column, others) is not None
        if not (is_identifier or column.is_text) or (named == 85 and not is_identifier and not refers):
            return 0  # a text named "customer" is the name
        return named + (10 if refers else 0)

    column = best_column(table, "customer_id", score)
    if column is not None:
        key_of = _referred_key(table, column, others)
        reason = "by its name" if key_of is None else f"refers to {key_of.table}"
        guess.choices["customer_id"] = Choice(column.name, f'{reason}; a customer\'s token has it as "sub"')
        return column
    email = _email_column(table)
    if email is not None:
        guess.choices["customer_id"] = Choice(
            email.name, 'no column refers to a customer; a customer\'s token would have the address as "sub"', is_sure=False
        )
    return None


def guess_customer_name(guess: Guess, customer: Column | None, others: Mapping[str, Table]) -> None:
    """Choose ``customer_name``, and ``joins`` if it is in another table. ``customer`` is the column of ``customer_id``."""
    table = guess.table
    taken = [guess.map.get(member) for member in ("number", "key", "status", "customer_id")]
    email = _email_column(table)

    def score(column: Column, named: int) -> int:
        return 0 if not column.is_text or column.name in taken or _referred_key(table, column, others) else named

    own = best_column(table, "customer_name", score)
    if own is not None:
        guess.choices["customer_name"] = Choice(own.name, "by its name")
        return
    for prefix in ("", "customer_", "billing_", "bill_", "shipping_", "ship_", "delivery_", "kunden_"):
        names = _full_name(table, "o", prefix)
        if names:
            guess.choices["customer_name"] = Choice(names, f"first and last name in {table.relation}")
            return

    # In another table: that of the customer, else the address.
    found: list[tuple[int, str, str, ForeignKey, str]] = []
    for column in table.columns:
        key = _referred_key(table, column, others)
        other = others.get(key.table) if key is not None else None
        if key is None or other is None:
            continue
        words = joined_name(column)
        if customer is not None and column.name == customer.name:
            alias, rank = "customer", 3
        elif re.fullmatch(r"(bill(ing)?|invoice)_address(_id)?", words):
            alias, rank = "address", 2
        elif re.fullmatch(r"((ship(ping)?|delivery)_)?address(_id)?", words):
            alias, rank = "address", 1
        else:
            continue
        name, is_name = _name_in_table(other, alias)
        if name:
            found.append((rank + (10 if is_name else 0), name, alias, key, column.sql))
    if not found:
        if email is not None:
            guess.choices["customer_name"] = Choice(email.name, "no name was found; the e-mail address instead", is_sure=False)
        else:
            guess.notes.append("customer_name: no column looks like one")
        return
    _, name, alias, key, sql = max(found, key=lambda one: one[0])
    if email is not None:
        name = f"coalesce({name}, {email.sql})"
    declared = table.foreign_key(key.column) is not None
    guess.choices["customer_name"] = Choice(
        name, f"in {key.table}, which {key.column} refers to{'' if declared else ' by its name'}", is_sure=declared
    )
    guess.choices["joins"] = Choice(
        f"left join {key.table} as {alias} on {alias}.{quote_identifier(key.target)} = {sql}",
        "for the name only; a later change of the name makes no event",
    )


def _referred_key(table: Table, column: Column, others: Mapping[str, Table]) -> ForeignKey | None:
    """The declared foreign key; else one by its name: ``customer_id`` beside a table ``customer`` with a key of that type."""
    key = table.foreign_key(column.name)
    if key is not None:
        return key
    words = split_words(column.name)
    if len(words) < 2 or words[-1] not in ("id", "uuid"):
        return None
    stem = "_".join(words[:-1])
    for other in others.values():
        name = "_".join(split_words(other.relation))
        if other.schema == table.schema and (
            name in (stem, stem + "s") or ("address" in stem and name in ("address", "addresses"))
        ):
            primary = next((index for index in other.indexes if index.is_primary and len(index.columns) == 1), None)
            target = other.column(primary.columns[0]) if primary is not None else None
            order_address = stem != name and table.schema == other.schema
            if target is not None and target.type == column.type and (order_address or name in (stem, stem + "s")):
                return ForeignKey(column.name, other.name, target.name)
    return None


def _name_in_table(other: Table, alias: str) -> tuple[str, bool]:
    """An expression for a person's name in another table, and whether it is a name: an e-mail address is none."""
    for name in (
        "full_name",
        "fullname",
        "name",
        "display_name",
        "customer_name",
        "nazwa",
        "nombre",
        "nom",
        "nome",
        "bezeichnung",
    ):
        column = next((column for column in other.columns if joined_name(column) == name and column.is_text), None)
        if column is not None and not (name in ("nombre", "nom", "nome") and _full_name(other, alias, "")):
            return f"{alias}.{quote_identifier(column.name)}", True
    names = _full_name(other, alias, "")
    if names:
        return names, True
    for name in ("username", "login", "email", "email_address"):
        column = next((column for column in other.columns if joined_name(column) == name and column.is_text), None)
        if column is not None:
            return f"{alias}.{quote_identifier(column.name)}", False
    return "", False


def _full_name(table: Table, alias: str, prefix: str) -> str:
    by_name = {joined_name(column): column for column in table.columns if column.is_text}
    for firsts, lasts in _FIRST_AND_LAST_NAMES:
        first = next((by_name[prefix + name] for name in firsts if prefix + name in by_name), None)
        last = next((by_name[prefix + name] for name in lasts if prefix + name in by_name), None)
        if first is not None and last is not None:
            return f"nullif(concat_ws(' ', {alias}.{quote_identifier(first.name)}, {alias}.{quote_identifier(last.name)}), '')"
    return ""


def _email_column(table: Table) -> Column | None:
    found = [column for column in table.columns if column.is_text and _EMAIL.fullmatch(joined_name(column))]
    return min(found, key=lambda column: joined_name(column).startswith("guest"), default=None)
