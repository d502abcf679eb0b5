"""Changes of orders that administrators make through the server, and what becomes of them. Values only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

__all__ = ["ChangeOutcome", "ChangeResult", "CreatedOrder", "StatusChange", "author_name"]

# Printable ASCII but for the per cent sign: PostgreSQL replaces every other character of an application_name.
_READABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
# PostgreSQL cuts an application_name after 63 bytes.
MAX_AUTHOR_LENGTH = 63
_PREFIX = "dashboard: "


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The status of one order, from what the client has seen to what it shall be.

    ``author``: of ``author_name``. ``undone_event``: the id of the event that this takes back, None for an ordinary change.
    """

    key: str
    from_status: str
    to_status: str
    author: str
    undone_event: str | None = None


class ChangeOutcome(StrEnum):
    """What the database says of a change (orderwire.change_order_status)."""

    CHANGED = "changed"
    NOT_IN_MAP = "not_in_map"
    MISSING = "missing"
    CONFLICT = "conflict"
    TRANSITION = "transition"
    UNDO = "undo"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """What became of a change.

    ``event_id``: of the order's newest event by this change; None if none was recorded. ``order``: as a JSON object, None if it
    is no order any more. ``status``: the present one. ``actor``: who wrote the order's newest event, as a JSON object; None if
    the journal does not say. ``detail``: of REFUSED, what the database says, for people; may be empty.
    """

    outcome: ChangeOutcome
    event_id: str | None = None
    order: str | None = None
    status: str | None = None
    actor: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CreatedOrder:
    """An order that the server has made: its key, and the id of its event, None if none was recorded."""

    key: str
    event_id: str | None


def author_name(subject: str | None) -> str:
    """What the journal has as application_name of a change by this subject: different for different subjects.

    Other characters than those of printable ASCII are percent-encoded, and the tilde too; of a subject that is too long then, a
    tilde and a hash take the place of the end.
    """
    if subject is None:
        return _PREFIX.rstrip(": ")
    text = quote(subject, safe=_READABLE).replace("~", "%7E")  # quote() leaves it as it is
    room = MAX_AUTHOR_LENGTH - len(_PREFIX)
    if len(text) > room:
        text = f"{text[: room - 17]}~{hashlib.sha256(subject.encode()).hexdigest()[:16]}"
    return _PREFIX + text
