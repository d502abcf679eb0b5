"""The file of a map: TOML as people edit it, and the JSON that ``orderwire.attach`` takes."""

from __future__ import annotations

import difflib
import json
import re
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from db.attach.guess import Guess
from db.errors import DatabaseError

__all__ = ["MapFile", "UsageError", "differences", "format_map", "load_map", "parse_map"]

# Members of a map: what each is, and an example for the message about a wrong one.
_ORDERS_MEMBERS = {
    "key": ("a column or a list of columns", 'key = "id"'),
    "key_is_unique": ("true or false", "key_is_unique = true"),
    "number": ("a text", 'number = "order_number"'),
    "customer_name": ("a text", 'customer_name = "customer_name"'),
    "customer_id": ("a text", 'customer_id = "customer_id"'),
    "total": ("a text", 'total = "total"'),
    "currency": ("a text", 'currency = "currency"'),
    "total_currency": ("a text", 'total_currency = "EUR"'),
    "status": ("a text", 'status = "status"'),
    "created_at": ("a text", 'created_at = "created_at"'),
    "where": ("a text", "where = \"o.status <> 'cart'\""),
    "joins": ("a text", 'joins = "left join public.customers as customer on customer.id = o.customer_id"'),
    "pending": ("a list of texts", 'pending = ["new"]'),
    "cancelled": ("a list of texts", 'cancelled = ["cancelled"]'),
    "statuses": ("a list of texts", 'statuses = ["new", "shipped"]'),
    "data": ("a list of columns, or a table of names and expressions", 'data = ["note"]'),
    "actor": ("true or false", "actor = true"),
    "payload": ('"full" or "keys"', 'payload = "keys"'),
    "publications": ("true or false", "publications = true"),
    "write": ("a table", "[write] with status = true"),
}
_WRITE_MEMBERS = {
    "status": ("true or false", "status = true"),
    "transitions": ("a table of lists of texts", 'pending = ["confirmed", "cancelled"]'),
}
_STREAM_MEMBERS = {
    member: _ORDERS_MEMBERS[member] for member in ("key", "key_is_unique", "where", "joins", "data", "actor", "publications")
} | {"order_key": ("a text", 'order_key = "order_id"')}
# What says which table the map is for; the rest is the map.
_OWN_MEMBERS = ("table", "stream")
_STREAM_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class UsageError(DatabaseError):
    """The command line or the file of a map is wrong. The text is one line that says how to mend it."""


@dataclass(frozen=True, slots=True)
class MapFile:
    """A parsed file: the map, and the table and the stream that it names, if any."""

    map: Mapping[str, Any]
    table: str | None = None
    stream: str | None = None
    comments: Mapping[str, str] = field(default_factory=dict)


def load_map(path: Path) -> MapFile:
    """Read a file. Raises UsageError, which names the file and the line or the member."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: the file is not UTF-8") from None
    return parse_map(text, str(path))


def parse_map(text: str, name: str) -> MapFile:
    """Parse the text of a file; ``name`` is for messages. Raises UsageError."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not TOML: {error}") from None
    table, stream = content.pop("table", None), content.pop("stream", None)
    for member, value in (("table", table), ("stream", stream)):
        if value is not None and not isinstance(value, str):
            raise UsageError(f'{name}: "{member}" is {_kind(value)}; it is a text: {member} = "…"')
    if stream is not None:
        check_stream_name(stream, name)
    known = _ORDERS_MEMBERS if stream is None else _STREAM_MEMBERS
    for member, value in content.items():
        _check_member(name, member, value, known, is_stream=stream is not None)
    if "key" not in content:
        raise UsageError(f'{name}: "key" is missing: name the columns of the primary key, such as key = "id"')
    if "joins" in content and not {"customer_name", "data"} & set(content):
        raise UsageError(f'{name}: "joins" is for customer_name and data alone, and the map has neither: remove it')
    if kind := _other_join(content.get("joins", "")):
        raise UsageError(
            f'{name}: "joins" has {kind} where it needs left join: a row without a match would lose the names of all joins'
        )
    return MapFile(content, table, stream)


def _other_join(joins: str) -> str | None:
    """The first join outside of parentheses that is no left join, as it is written; None if all are."""
    text = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "q", joins)
    while (shorter := re.sub(r"\([^()]*\)", " ", text)) != text:
        text = shorter
    words = re.findall(r"\w+|,", text.lower())
    for position, word in enumerate(words):
        if word == ",":
            return "a comma"
        if word == "join":
            before = [other for other in words[max(0, position - 2) : position] if other != "outer"]
            kind = before[-1] if before else ""
            if kind != "left":
                return f"{kind} join" if kind in ("inner", "cross", "right", "full", "natural") else "join"
    return None


def check_stream_name(stream: str, name: str) -> None:
    """Raises UsageError unless a stream can have this name."""
    if not _STREAM_NAME.fullmatch(stream) or stream in ("orders", "order", "analytics"):
        raise UsageError(
            f"{name}: a stream cannot be named {stream!r}: take lower-case letters, digits and underscores, and none of "
            "orders, order, analytics"
        )


def _check_member(name: str, member: str, value: Any, known: Mapping[str, tuple[str, str]], *, is_stream: bool) -> None:
    if member not in known:
        if is_stream and member in _ORDERS_MEMBERS:
            raise UsageError(f'{name}: "{member}" is for the table of orders; a stream has {", ".join(known)}')
        close = difflib.get_close_matches(member, [*known, *_OWN_MEMBERS], n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join([*_OWN_MEMBERS, *known])}"
        raise UsageError(f'{name}: "{member}" is no member of a map: {hint}')
    what, example = known[member]
    match member:
        case "key":
            is_right = isinstance(value, str) or _is_list_of_texts(value)
        case "pending" | "cancelled" | "statuses":
            is_right = _is_list_of_texts(value)
        case "actor" | "publications" | "key_is_unique":
            is_right = isinstance(value, bool)
        case "payload":
            is_right = value in ("full", "keys")
        case "write":
            is_right = isinstance(value, dict)
            if is_right:
                _check_write(name, value, known)
        case "data":
            is_right = _is_list_of_texts(value) or isinstance(value, dict)
            wrong = next((k for k, v in value.items() if not isinstance(v, str)), None) if isinstance(value, dict) else None
            if wrong is not None:
                more = " (members of the map come before [data])" if wrong in known else ""
                raise UsageError(f'{name}: "data.{wrong}" is {_kind(value[wrong])}; it is an expression: {wrong} = "…"{more}')
        case _:
            is_right = isinstance(value, str)
    if not is_right:
        raise UsageError(f'{name}: "{member}" is {_kind(value)}; it is {what}: {example}')
    if value in ("", [], {}) and member not in ("pending", "cancelled", "statuses"):
        raise UsageError(f'{name}: "{member}" is empty: leave it out, or write {example}')


def _check_write(name: str, write: Mapping[str, Any], of_map: Mapping[str, Any]) -> None:
    """Check the form of ``[write]``. Whether the statuses are those of the map is checked by the database."""
    for member, value in write.items():
        if member not in _WRITE_MEMBERS:
            more = ": members of the map come before [write]" if member in of_map else ""
            raise UsageError(f'{name}: "write.{member}" is no member of a map{more}; [write] has status and transitions')
        is_right = isinstance(value, bool) if member == "status" else isinstance(value, dict)
        if not is_right:
            what, example = _WRITE_MEMBERS[member]
            raise UsageError(f'{name}: "write.{member}" is {_kind(value)}; it is {what}: {example}')
    if "status" not in write:
        raise UsageError(f"{name}: [write] says nothing of the status: write status = true, or leave it out")
    transitions = write.get("transitions")
    if transitions == {}:
        raise UsageError(f'{name}: "write.transitions" is empty: leave it out, or write {_WRITE_MEMBERS["transitions"][1]}')
    for status, value in (transitions or {}).items():
        if not _is_list_of_texts(value):
            raise UsageError(
                f'{name}: "write.transitions.{status}" is {_kind(value)}; it is a list of texts, the statuses that may follow'
            )


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {json.dumps(value, ensure_ascii=False)}"
        case int() | float():
            return f"the number {value}"
        case list():
            return "a list" if _is_list_of_texts(value) else "a list with something that is no text"
        case dict():
            return "a table"
    return "a date"


# ---------------------------------------------------------------- writing


def format_map(guess: Guess, stream: str | None = None) -> str:
    """A guessed map as TOML, with a comment for each line that says why, and one for what was not found."""
    lines = [f"table = {_value(guess.table.name)}"]
    if stream is not None:
        lines.append(f"stream = {_value(stream)}")
    for member, value in guess.map.items():
        choice = guess.choices[member]
        lines += ["", *_comment(choice.reason if choice.is_sure else f"please check: {choice.reason}")]
        lines.append(f"{member} = {_value(value)}")
    if guess.notes:
        lines.append("")
    for note in guess.notes:
        lines += _comment(note)
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        100,
        initial_indent="# ",
        subsequent_indent="#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            items = [_value(item) for item in value]
            line = f"[{', '.join(items)}]"
            return line if len(line) <= 90 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
        case dict():
            return "{" + ", ".join(f"{_value(name)} = {_value(item)}" for name, item in value.items()) + "}"
    text = str(value)
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    # A JSON string is a TOML string, but for the escape of a character beyond U+FFFF, which does not occur unescaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


# ---------------------------------------------------------------- comparing


def differences(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """One line for each member in which two maps differ; empty lists and false are as if left out."""
    lines = []
    for member in dict.fromkeys([*wanted, *present]):
        ours, theirs = _normal(member, wanted.get(member)), _normal(member, present.get(member))
        if ours != theirs:
            lines.append(f"{member}: the file has {_said(ours)}, the database {_said(theirs)}")
    return lines


def _normal(member: str, value: Any) -> Any:
    if member == "key" and isinstance(value, list) and len(value) == 1:
        return value[0]
    if (member == "payload" and value == "full") or (member == "write" and not (value or {}).get("status")):
        return None
    return None if value in ([], {}, False, "") else value


def _said(value: Any) -> str:
    return "nothing" if value is None else _value(value).replace("\n", " ")
