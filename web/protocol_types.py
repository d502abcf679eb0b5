"""Write the types of web/client/src/protocol.ts from push/protocol/schema.py: ``make types``.

A test compares the file with the schemas. It knows what these schemas use of JSON Schema, and no more.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from push.protocol.schema import CLIENT_MESSAGES, EVENTS, REFERENCE, SCHEMAS, SERVER_MESSAGES, Schema

__all__ = ["PATH", "protocol_types"]

PATH = Path(__file__).resolve().parent / "client" / "src" / "protocol.ts"
HEAD = """\
/**
 * The messages of docs/reference/protocol.md. Amounts of money are decimal strings, times are RFC 3339.
 *
 * Made from push/protocol/schema.py by `make types`: change that file, not this one.
 */
"""
_WIDTH = 140
# The browser client does not ask for conflation, so it gets none of these.
_NOT_FOR_THE_CLIENT = ("Bulk", "Position")
_JSON_TYPES = {"string": "string", "integer": "number", "boolean": "boolean", "null": "null"}


def protocol_types() -> str:
    """The text of the file."""
    orders = [name for type_, name in EVENTS.items() if not type_.startswith("row_")]
    rows = [name for name in EVENTS.values() if name not in orders]
    server = [name for name in SERVER_MESSAGES.values() if name not in _NOT_FOR_THE_CLIENT]
    interfaces = [_interface(name, schema) for name, schema in SCHEMAS.items() if name not in _NOT_FOR_THE_CLIENT]
    unions = (
        _union("OrderEvent", orders),
        _union("StreamEvent", rows, "A change of a row of a further attached table."),
        _union("ServerMessage", ["OrderEvent", "StreamEvent", *server]),
        _union("ClientMessage", list(CLIENT_MESSAGES.values())),
    )
    return "\n".join((HEAD, *interfaces, *unions))


def _interface(name: str, schema: Schema) -> str:
    return f"{_comment(schema, '')}export interface {name} {_object(schema, '')}\n"


def _union(name: str, members: Sequence[str], comment: str = "") -> str:
    head = _comment({"description": comment}, "")
    line = f"export type {name} = {' | '.join(members)};\n"
    if len(line) > _WIDTH:
        line = f"export type {name} =\n" + "\n".join(f"  | {member}" for member in members) + ";\n"
    return head + line


def _object(schema: Schema, indent: str) -> str:
    required = schema.get("required", ())
    lines = []
    for name, member in schema["properties"].items():
        mark = "" if name in required else "?"
        lines.append(f"{_comment(member, indent + '  ')}{indent}  {name}{mark}: {_type(member, indent + '  ')};\n")
    return f"{{\n{''.join(lines)}{indent}}}"


def _type(schema: Schema, indent: str) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(REFERENCE)
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return " | ".join(f'"{value}"' for value in schema["enum"])
    match schema["type"]:
        case "array":
            return f"{_type(schema['items'], indent)}[]"
        case "object":
            if "properties" in schema:
                return _object(schema, indent)
            return f"Record<string, {_record_value(schema['additionalProperties'], indent)}>"
        case str(name):
            return _JSON_TYPES[name]
        case names:
            return " | ".join(_JSON_TYPES[name] for name in names)


def _record_value(schema: Schema | bool, indent: str) -> str:
    return _type(schema, indent) if isinstance(schema, Mapping) else "unknown"


def _comment(schema: Mapping[str, Any], indent: str) -> str:
    text = schema.get("description")
    return f"{indent}/** {text} */\n" if text else ""


if __name__ == "__main__":
    PATH.write_text(protocol_types(), encoding="utf-8")
    sys.stdout.write(f"wrote {PATH.name}\n")
