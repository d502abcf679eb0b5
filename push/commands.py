"""What a client says in a text frame, understood. Pure."""

from __future__ import annotations

import json
from typing import Any

from push.access import parse_topics
from push.frames import Auth, Command, Ping, Pong, Subscribe, Unsubscribe

__all__ = ["Misunderstood", "understood"]


class Misunderstood(Exception):
    """It is nothing that this protocol knows; ``code`` is what the client is told, beside the text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def understood(text: str) -> Command | Ping | Pong:
    """Raises Misunderstood. Fields that nobody knows are left alone."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Misunderstood("bad_json", "the frame is not JSON") from None
    match message:
        case {"type": "ping"}:
            return Ping()
        case {"type": "pong"}:
            return Pong()
        case {"type": "auth", "token": str(token)}:
            return Auth(token)
        case {"type": "auth"}:
            raise Misunderstood("bad_frame", 'expected a string "token"')
        case {"type": "subscribe", **fields}:
            return Subscribe(_topics(fields))
        case {"type": "unsubscribe", **fields}:
            return Unsubscribe(_topics(fields))
        case {"type": str(name)}:
            raise Misunderstood("unknown_type", f"unknown type: {name[:40]}")
        case _:
            raise Misunderstood("bad_frame", 'expected an object with a string "type"')


def _topics(fields: dict[Any, Any]) -> frozenset[str]:
    names = fields.get("topics")
    if not isinstance(names, list):
        raise Misunderstood("bad_frame", 'expected a list "topics"')
    try:
        return parse_topics(names)
    except ValueError as error:
        raise Misunderstood("bad_topic", f"no such topic: {error}") from None
