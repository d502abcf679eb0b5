"""What the catalog and a sample of rows say about a table; what a map is guessed from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = [
    "Column",
    "ForeignKey",
    "Index",
    "Table",
    "quote_identifier",
    "quote_literal",
    "spellings",
    "split_words",
    "word_set",
]


def word_set(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


INTEGER_TYPES = frozenset({"smallint", "integer", "bigint"})
TEXT_TYPES = frozenset({"text", "character varying", "character", "name", "citext"})
NUMBER_TYPES = INTEGER_TYPES | {"numeric", "real", "double precision", "money"}
TIME_TYPES = frozenset({"timestamp with time zone", "timestamp without time zone", "date"})

# Keywords that quote_ident quotes (pg_get_keywords of PostgreSQL 18).
_RESERVED = word_set(
    "all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case "
    "cast char character check coalesce collate collation column concurrently constraint create cross current_catalog "
    "current_date current_role current_schema current_time current_timestamp current_user dec decimal default "
    "deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full grant "
    "greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull join "
    "json json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize "
    "json_table json_value lateral leading least left like limit localtime localtimestamp merge_action national "
    "natural nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay "
    "placing position precision primary real references returning right row select session_user setof similar "
    "smallint some substring symmetric system_user table tablesample then time timestamp to trailing treat trim true "
    "union unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat "
    "xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable"
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``type`` is the name that format_type gives the base type, without its modifier; "enum" for any enum."""

    name: str
    type: str
    not_null: bool = False
    # Digits in all and after the point, of a numeric with a declared precision.
    precision: int | None = None
    scale: int | None = None
    # Labels of an enum in their order, or the values that a check constraint lists.
    labels: tuple[str, ...] = ()
    # Its default, as SQL. Identity columns have "identity".
    default: str = ""
    # A virtual generated column, which triggers cannot see.
    is_virtual: bool = False

    @property
    def is_text(self) -> bool:
        return self.type in TEXT_TYPES

    @property
    def is_integer(self) -> bool:
        return self.type in INTEGER_TYPES

    @property
    def is_time(self) -> bool:
        return self.type in TIME_TYPES

    @property
    def sql(self) -> str:
        """The column of the row "o", as the SQL functions write it."""
        return f"o.{quote_identifier(self.name)}"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key of one column; ``table`` is that referred to, as quoted SQL."""

    column: str
    table: str
    target: str


@dataclass(frozen=True, slots=True)
class Index:
    """A valid index without a condition. A column that is an expression is its text."""

    columns: tuple[str, ...]
    is_unique: bool = False
    is_primary: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a sample of its rows. ``name`` is qualified and quoted where necessary."""

    schema: str
    relation: str
    columns: Sequence[Column]
    indexes: Sequence[Index] = ()
    foreign_keys: Sequence[ForeignKey] = ()
    # By the planner's estimate; -1 if it has none.
    rows: float = -1
    is_partitioned: bool = False
    partition_columns: Sequence[str] = ()
    # Of sampled rows: how often each value occurs, None for null. Columns that are not worth it have no entry.
    values: Mapping[str, Mapping[str | None, int]] = field(default_factory=dict)
    # Rows of tables that a foreign key of one column refers to, if they are few: key → text of each column.
    lookups: Mapping[str, Sequence[Mapping[str, str | None]]] = field(default_factory=dict)
    # Roles of this session lack a privilege.
    may_attach: bool = True

    @property
    def name(self) -> str:
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.relation)}"

    def column(self, name: str) -> Column | None:
        """The column of this name; None if there is none."""
        return next((column for column in self.columns if column.name == name), None)

    def foreign_key(self, column: str) -> ForeignKey | None:
        """The foreign key of this column alone; None if there is none."""
        return next((key for key in self.foreign_keys if key.column == column), None)

    def sampled(self, column: str) -> Mapping[str | None, int]:
        """The counts of the column's values in the sample; empty without any."""
        return self.values.get(column, {})


def quote_identifier(name: str) -> str:
    """As quote_ident does: quotes only where they are necessary."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A string constant. Backslashes need nothing, since standard_conforming_strings is on."""
    return "'" + text.replace("'", "''") + "'"


def split_words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: createdOnUtc, created_on_utc and CreatedOnUTC are the same."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return tuple(word for word in re.split(r"[^0-9a-z\u0080-\U0010ffff]+", spaced.lower()) if word)


_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_WITHOUT_DECOMPOSITION = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "ß": "ss"})


def spellings(name: str) -> tuple[str, ...]:
    """A name in lower case as it is, and as people write it in ASCII: gelöscht, geloescht, geloscht."""
    if name.isascii():
        return (name,)
    plain = unicodedata.normalize("NFD", name.translate(_WITHOUT_DECOMPOSITION))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return tuple(dict.fromkeys([name, name.translate(_GERMAN), plain]))
