"""Whether JSON values are what the descriptions of the interfaces say, and no more than that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jsonschema

from gateway.description.answers import ANSWERS
from push.protocol.schema import EVENTS, SCHEMAS, SERVER_MESSAGES

__all__ = ["MESSAGES", "assert_described", "assert_message_described", "assert_references_lead_somewhere", "same_shape"]

# The name of the schema of each message of the server, by its type.
MESSAGES = {SCHEMAS[name]["properties"]["type"]["const"]: name for name in (*SERVER_MESSAGES.values(), *EVENTS.values())}


def closed(schema: Any) -> Any:
    """The schema, by which objects have no other members than those that it names: else a new one would go unnoticed."""
    if isinstance(schema, Mapping):
        copy = {name: closed(value) for name, value in schema.items()}
        if isinstance(copy.get("properties"), dict) and "required" in copy:
            copy.setdefault("additionalProperties", False)
        return copy
    return [closed(item) for item in schema] if isinstance(schema, list | tuple) else schema


@cache
def _validator(name: str) -> Any:
    schemas = {found: closed(schema) for found, schema in {**SCHEMAS, **ANSWERS}.items()}
    document = {"components": {"schemas": schemas}, "$ref": f"#/components/schemas/{name}"}
    validator = jsonschema.Draft202012Validator
    return validator(document, format_checker=validator.FORMAT_CHECKER)


def assert_described(value: Any, name: str) -> None:
    """``value`` is what the schema of this name says, without further members."""
    errors = [f"{error.json_path}: {error.message}" for error in _validator(name).iter_errors(value)]
    assert errors == [], f"{name}: {'; '.join(errors)}: {value}"


def assert_message_described(message: Any) -> None:
    """A message of the server is what the schema of its type says, without further members."""
    assert message["type"] in MESSAGES, f"no schema has this type: {message}"
    assert_described(message, MESSAGES[message["type"]])


def assert_references_lead_somewhere(document: Any) -> None:
    """The document has references, and each leads to a part of it."""
    found = set(_references(document))
    assert found
    for reference in found:
        target = document
        for name in reference.removeprefix("#/").split("/"):
            target = target[name]


def _references(document: Any) -> Iterator[str]:
    """Every ``$ref`` in the document."""
    if isinstance(document, dict):
        if isinstance(document.get("$ref"), str):
            yield document["$ref"]
        for value in document.values():
            yield from _references(value)
    elif isinstance(document, list | tuple):
        for item in document:
            yield from _references(item)


def same_shape(one: Any, other: Any) -> bool:
    """Whether both have the same members of the same JSON types.

    Null is like any value. Of lists the first items are compared. An empty object is like any: it may be a table of sums.
    """
    if one is None or other is None:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return (
            not one
            or not other
            or (one.keys() == other.keys() and all(same_shape(value, other[name]) for name, value in one.items()))
        )
    if isinstance(one, list) and isinstance(other, list):
        return not one or not other or same_shape(one[0], other[0])
    return type(one) is type(other)
