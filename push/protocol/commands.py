"""Parses the messages of clients. No I/O, and no decision on whether a command is permitted."""

from __future__ import annotations

import json
from typing import Any

from push.protocol.access import parse_topics
from push.protocol.messages import Auth, Command, Ping, Pong, Subscribe, Unsubscribe

__all__ = ["InvalidMessage", "parse_message"]


class InvalidMessage(Exception):
    """The text is not a message of this protocol. The client gets ``code`` and the text of the exception as an ``error``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_message(text: str) -> Command | Ping | Pong:
    """Parse one message of a client. Unknown members are ignored. Raises InvalidMessage."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidMessage("bad_json", "the message is not JSON") from None
    match message:
        case {"type": "ping"}:
            return Ping()
        case {"type": "pong"}:
            return Pong()
        case {"type": "auth", "token": str(token)}:
            return Auth(token)
        case {"type": "auth"}:
            raise InvalidMessage("bad_frame", 'expected a string "token"')
        case {"type": "subscribe", **fields}:
            return Subscribe(_parse_topics(fields))
        case {"type": "unsubscribe", **fields}:
            return Unsubscribe(_parse_topics(fields))
        case {"type": str(name)}:
            raise InvalidMessage("unknown_type", f"unknown type: {name[:40]}")
        case _:
            raise InvalidMessage("bad_frame", 'expected an object with a string "type"')


def _parse_topics(fields: dict[Any, Any]) -> frozenset[str]:
    names = fields.get("topics")
    if not isinstance(names, list):
        raise InvalidMessage("bad_frame", 'expected a list "topics"')
    try:
        return parse_topics(names)
    except ValueError as error:
        raise InvalidMessage("bad_topic", f"no such topic: {error}") from None
