"""Guesses the map of a table from its columns, keys and sampled values, and says why. Pure: the facts come from catalog.py."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from db.attach.facts import (
    NUMBER_TYPES,
    Column,
    ForeignKey,
    Table,
    quote_identifier,
    quote_literal,
    spellings,
    split_words,
    word_set,
)
from db.attach.vocabulary import (
    CODES,
    NAME_PATTERNS,
    SYSTEMS,
    is_cancelled,
    is_cart,
    is_known_status,
    is_pending,
    lifecycle_rank,
    table_name_score,
)

__all__ = ["Choice", "Guess", "guess_map", "guess_stream"]

# The members of a map in the order in which a file lists them.
MEMBERS = (
    "key",
    "key_is_unique",
    "number",
    "customer_name",
    "joins",
    "customer_id",
    "total",
    "currency",
    "total_currency",
    "status",
    "pending",
    "cancelled",
    "statuses",
    "created_at",
    "where",
    "order_key",
    "data",
    "payload",
)
MAX_STATUSES = 40
# A column is taken from this score on.
_LEAST_SCORE = 40
_KEY_TYPES = frozenset({"smallint", "integer", "bigint", "uuid", "text", "character varying", "character"})
_NO_MONEY_OF_AN_ORDER = word_set(
    "tax vat shipping discount sub subtotal net refund refunded paid due weight qty quantity count item items "
    "adjustment payment promo undiscounted base captured authorized authorised charge residual balance unpaid untaxed "
    "excl excluding fee tip rate outstanding undelivered uninvoiced "
    "netto mwst ust steuer versand versandkosten rabatt gutschein liefer lieferkosten anzahl menge gewicht podatek rabat "
    "dostawa dostawy waga wysylka wysylki ilosc impuesto iva envio descuento peso frete desconto remise livraison tva poids "
    "spedizione sconto"
)
_NO_NUMBER_OF_AN_ORDER = word_set(
    "phone vat tax card house street tracking items customer zip postal bank account version line lines table"
)
_NO_CUSTOMER = word_set("seller vendor courier admin staff employee created updated deleted sales group type count")
_NO_STATUS = word_set("country province address bill ship billing region")
_MINOR_UNITS = re.compile(r"_?(cents?|minor|minor_units|pence|kopecks|centow|grosze|groszy|gr|centimos|centavos|centimes|ore)$")
_IN_MINOR_UNITS = re.compile(r".+_" + _MINOR_UNITS.pattern.removeprefix("_?"))
_EMAIL = re.compile(r"((user|customer|guest|contact|buyer|client|kunden?)_)?e?_?mail(_address|_adresse)?")
_FIRST_AND_LAST_NAMES = (
    (("first_name", "firstname", "given_name", "fname"), ("last_name", "lastname", "surname", "family_name", "lname")),
    (("vorname",), ("nachname", "name")),
    (("imie", "imię"), ("nazwisko",)),
    (("nombre",), ("apellido", "apellidos")),
    (("prenom", "prénom"), ("nom",)),
    (("nome",), ("cognome", "sobrenome")),
)
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
_ORDER_CODE = re.compile(r"[A-Za-z#/]{0,8}[-#/ ]?\d[\w/-]*")


@dataclass(frozen=True, slots=True)
class Choice:
    """The value of one member of a map, and why. ``is_sure`` is false where a person should check it."""

    value: Any
    reason: str
    is_sure: bool = True


@dataclass(slots=True)
class Guess:
    """A guessed map. ``notes`` say what could not be guessed."""

    table: Table
    choices: dict[str, Choice] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # How much the table looks like one of orders.
    score: int = 0
    # The shop system that the columns are those of.
    system: str | None = None

    @property
    def map(self) -> dict[str, Any]:
        """The map as ``orderwire.attach`` takes it."""
        return {member: self.choices[member].value for member in MEMBERS if member in self.choices}

    @property
    def summary(self) -> str:
        """One line: the columns that were found."""
        shown = ("key", "number", "customer_name", "total", "currency", "status", "created_at")
        found = []
        for member in shown:
            if member in self.choices:
                value = self.choices[member].value
                text = ",".join(value) if isinstance(value, list) else value
                found.append(f"{member}={text if len(text) <= 40 else text[:39] + '…'}")
        return " ".join(found)


def guess_map(table: Table, others: Mapping[str, Table] | None = None) -> Guess:
    """The map of a table of orders. ``others`` are tables by their name, for what foreign keys refer to."""
    guess = Guess(table, score=table_name_score(table.relation))
    guess.system = _system(table)
    if guess.system:
        guess.score += 10
    _guess_key(guess)
    status = _guess_status(guess)
    _guess_where(guess, status)
    _guess_created_at(guess)
    _guess_number(guess)
    customer = _guess_customer_id(guess, others or {})
    _guess_customer_name(guess, customer, others or {})
    _guess_currency(guess)
    _guess_total(guess, others or {})
    if status is not None:
        _guess_status_lists(guess, status)
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
    column = table.column(orders_key.name) if orders_key is not None and _joined(orders_key) not in ("id", "uuid") else None
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


# ---------------------------------------------------------------- the fields


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


def _guess_status(guess: Guess) -> Column | None:
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

    column = _best(table, "status", score) or _coded_status(guess)
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
                else f"come from {_fk_table(table, column)}, as it is now"
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
        and re.fullmatch(r"(payment|fulfil?lment|shipment|shipping|delivery)_(status|state)", _joined(other))
    ]
    if rest:
        guess.notes.append(f"status: {', '.join(rest)} could be part of data, or the status if it says more than {column.name}")
    return column


def _coded_status(guess: Guess) -> Column | None:
    """A column of numbers, of any name, that refers to a small table whose texts are mostly words for a status of orders."""
    for column in guess.table.columns:
        names = list(_named_codes(guess, column).values()) if column.is_integer and not column.is_virtual else []
        if 2 * sum(is_known_status(name) for name in names) > len(names):
            return column
    return None


def _guess_where(guess: Guess, status: Column | None) -> None:
    table = guess.table
    conditions: list[str] = []
    reasons: list[str] = []
    statuses = _statuses_of(guess, status)
    carts = sorted(value for value in statuses if is_cart(value, statuses))
    placed = None
    for column in table.columns:
        if column.is_time and not column.not_null and _PLACED_AT.fullmatch(_joined(column)):
            counts = table.sampled(column.name)
            is_late = _joined(column) == "completed_at" and not carts  # the end of an order, not of its checkout
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
        if column.type == "boolean" and _matches(_IS_DRAFT, column):
            conditions.append(_is_false(column))
            reasons.append(f"{column.name}: no orders yet")
        elif column.is_time and not column.not_null and _matches(_DELETED_AT, column):
            conditions.append(f"{column.sql} is null")
            reasons.append(f"{column.name} marks deleted rows")
            knows_deleted = True
        elif column.type == "boolean" and _matches(_DELETED, column):
            conditions.append(_is_false(column))
            reasons.append(f"{column.name} marks deleted rows")
            knows_deleted = True
    if conditions:
        guess.choices["where"] = Choice(" and ".join(conditions), "; ".join(reasons))
    if not knows_deleted:
        every = "" if conditions else "; every row is an order"
        guess.notes.append(f"where: no column looks like a mark of deletion{every}")


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
    column = placed[0] if placed else _best(table, "created_at", score)
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

    column = _best(table, "number", score)
    if column is not None:
        sample = next((value for value in table.sampled(column.name) if value), None)
        reason = "by its name" if not sample else f"by its name; values such as {_short(sample)}"
        if _joined(column) == "name":
            reason = f"its values look like numbers of orders: {_short(sample or '')}"
        guess.choices["number"] = Choice(column.name, reason)


def _guess_customer_id(guess: Guess, others: Mapping[str, Table]) -> Column | None:
    table = guess.table
    key = guess.map.get("key")

    def score(column: Column, named: int) -> int:
        if set(split_words(column.name)) & _NO_CUSTOMER or column.name == key:
            return 0
        is_identifier = column.is_integer or column.type == "uuid"
        refers = _target(table, column, others) is not None
        if not (is_identifier or column.is_text) or (named == 85 and not is_identifier and not refers):
            return 0  # a text named "customer" is the name
        return named + (10 if refers else 0)

    column = _best(table, "customer_id", score)
    if column is not None:
        key_of = _target(table, column, others)
        reason = "by its name" if key_of is None else f"refers to {key_of.table}"
        guess.choices["customer_id"] = Choice(column.name, f'{reason}; a customer\'s token has it as "sub"')
        return column
    email = _email(table)
    if email is not None:
        guess.choices["customer_id"] = Choice(
            email.name, 'no column refers to a customer; a customer\'s token would have the address as "sub"', is_sure=False
        )
    return None


def _guess_customer_name(guess: Guess, customer: Column | None, others: Mapping[str, Table]) -> None:
    table = guess.table
    taken = [guess.map.get(member) for member in ("number", "key", "status", "customer_id")]
    email = _email(table)

    def score(column: Column, named: int) -> int:
        return 0 if not column.is_text or column.name in taken or _target(table, column, others) else named

    own = _best(table, "customer_name", score)
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
        key = _target(table, column, others)
        other = others.get(key.table) if key is not None else None
        if key is None or other is None:
            continue
        words = _joined(column)
        if customer is not None and column.name == customer.name:
            alias, rank = "customer", 3
        elif re.fullmatch(r"(bill(ing)?|invoice)_address(_id)?", words):
            alias, rank = "address", 2
        elif re.fullmatch(r"((ship(ping)?|delivery)_)?address(_id)?", words):
            alias, rank = "address", 1
        else:
            continue
        name, is_name = _name_in(other, alias)
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


def _guess_currency(guess: Guess) -> None:
    table = guess.table

    def score(column: Column, named: int) -> int:
        if not (column.is_text or column.type == "enum"):
            return 0
        values = [value for value in table.sampled(column.name) if value is not None]
        if values and not all(re.fullmatch(r"[A-Za-z]{3}", value.strip()) for value in values):
            return 0
        return named

    column = _best(table, "currency", score)
    if column is None:
        if any(re.fullmatch(r"currency_id", _joined(column)) for column in table.columns):
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


def _guess_total(guess: Guess, others: Mapping[str, Table]) -> None:
    table = guess.table

    def score(column: Column, named: int) -> int:
        if column.type not in NUMBER_TYPES:
            return 0
        if named < 95 and set(split_words(column.name)) & _NO_MONEY_OF_AN_ORDER:
            return 0
        return named

    column = _best(table, "total", score)
    if column is not None:
        _choose_total(guess, column.sql, column, "by its name")
        return
    units = [
        column
        for column in _numbers(table)
        if _matches(_IN_MINOR_UNITS, column) and not set(split_words(column.name)) & _NO_MONEY_OF_AN_ORDER
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
            and _joined(column) in (f"sub_total{suffix}", f"subtotal{suffix}", f"shipping{suffix}")
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
    if _MINOR_UNITS.search(_joined(column)):
        guess.choices["total"] = Choice(f"{sql} * 0.01", f"{reason}; in hundredths, as its name says")
    elif "currency" in guess.choices and not whole:
        guess.choices["total"] = Choice(
            f"{sql} * 0.01", f"{reason}; an integer beside a currency: taken for hundredths", is_sure=False
        )
    else:
        guess.choices["total"] = Choice(
            column.name if is_plain else sql, f"{reason}; an integer: if it counts cents, write {sql} * 0.01", is_sure=False
        )


def _guess_status_lists(guess: Guess, status: Column) -> None:
    values = _statuses_of(guess, status)
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


# ---------------------------------------------------------------- parts


def _best(table: Table, member: str, score: Any) -> Column | None:
    """The column with the highest score for a member of the map; the first of equal ones."""
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
    return next((score for score, pattern in NAME_PATTERNS[member] if _matches(pattern, column)), 0)


def _matches(pattern: re.Pattern[str], column: Column) -> bool:
    return any(pattern.fullmatch(name) for name in spellings(_joined(column)))


def _joined(column: Column) -> str:
    return "_".join(split_words(column.name))


def _status_values(table: Table, column: Column) -> list[str]:
    """The values of a status column: all that its type or a check allows, else those sampled, the most frequent first."""
    if column.labels:
        return list(column.labels)
    return [value for value in table.sampled(column.name) if value is not None]


def _statuses_of(guess: Guess, status: Column | None) -> list[str]:
    """The statuses as the map names them."""
    if status is None:
        return []
    values = _status_values(guess.table, status)
    named = _named_codes(guess, status)
    return list(dict.fromkeys([*named.values(), *(named.get(value, value) for value in values)])) if named else values


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


def _fk_table(table: Table, column: Column) -> str:
    key = table.foreign_key(column.name)
    return key.table if key is not None else "?"


def _target(table: Table, column: Column, others: Mapping[str, Table]) -> ForeignKey | None:
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


def _name_in(other: Table, alias: str) -> tuple[str, bool]:
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
        column = next((column for column in other.columns if _joined(column) == name and column.is_text), None)
        if column is not None and not (name in ("nombre", "nom", "nome") and _full_name(other, alias, "")):
            return f"{alias}.{quote_identifier(column.name)}", True
    names = _full_name(other, alias, "")
    if names:
        return names, True
    for name in ("username", "login", "email", "email_address"):
        column = next((column for column in other.columns if _joined(column) == name and column.is_text), None)
        if column is not None:
            return f"{alias}.{quote_identifier(column.name)}", False
    return "", False


def _full_name(table: Table, alias: str, prefix: str) -> str:
    by_name = {_joined(column): column for column in table.columns if column.is_text}
    for firsts, lasts in _FIRST_AND_LAST_NAMES:
        first = next((by_name[prefix + name] for name in firsts if prefix + name in by_name), None)
        last = next((by_name[prefix + name] for name in lasts if prefix + name in by_name), None)
        if first is not None and last is not None:
            return f"nullif(concat_ws(' ', {alias}.{quote_identifier(first.name)}, {alias}.{quote_identifier(last.name)}), '')"
    return ""


def _email(table: Table) -> Column | None:
    found = [column for column in table.columns if column.is_text and _EMAIL.fullmatch(_joined(column))]
    return min(found, key=lambda column: _joined(column).startswith("guest"), default=None)


def _epoch_unit(table: Table, column: Column) -> str | None:
    """Whether integers are seconds or milliseconds since 1970; None if neither."""
    values = [int(value) for value in table.sampled(column.name) if value is not None]
    if values and all(1_000_000_000 <= value < 5_000_000_000 for value in values):
        return "seconds"
    if values and all(1_000_000_000_000 <= value < 5_000_000_000_000 for value in values):
        return "milliseconds"
    return None


def _is_false(column: Column) -> str:
    return f"not {column.sql}" if column.not_null else f"{column.sql} is not true"


def _is_secret(name: str) -> bool:
    return bool(set(split_words(name)) & {"password", "token", "secret", "hash", "salt", "iban", "card", "ssn"})


def _looks_like_orders(name: str) -> bool:
    return table_name_score(name.rsplit(".", 1)[-1].strip('"')) >= 45


def _system(table: Table) -> str | None:
    names = {column.name for column in table.columns}
    if table_name_score(table.relation) < 20:
        return None
    return next((system for system, columns in SYSTEMS.items() if columns <= names), None)


def _type_of(column: Column) -> str:
    return column.type if column.precision is None else f"{column.type}({column.precision},{column.scale})"


def _list(values: Sequence[str]) -> str:
    return ", ".join(values)


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"
