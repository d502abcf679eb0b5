"""Errors of this package that others catch.

PushError
├── BadCursor             a client sent a text that is not a cursor
├── TooManyExports        as many exports as are allowed at a time are running
├── TooManySearches       a search has waited too long for others
├── AccessDenied          a client is rejected (push/protocol/access.py)
├── BusUnavailable        the broker does not answer
├── BadFact               a message of the broker cannot be read (push/journal/facts.py)
│   └── UnknownFactVersion    it is of a newer version
└── StoreError            the database could not answer
    └── ConnectionLost    the connection that the relay follows is lost
"""

__all__ = [
    "BadCursor",
    "BadFact",
    "BusUnavailable",
    "ConnectionLost",
    "PushError",
    "StoreError",
    "TooManyExports",
    "TooManySearches",
    "UnknownFactVersion",
]


class PushError(Exception):
    """Base of all errors of this package. The text is one line for people."""


class BadCursor(PushError):
    """A client sent a text that is not a cursor."""


class TooManyExports(PushError):
    """As many exports of orders as are allowed at a time are running."""


class TooManySearches(PushError):
    """A search that no index answers has waited too long for others of its kind."""


class BusUnavailable(PushError):
    """The broker does not answer, or refused. Correctness does not depend on it: read PostgreSQL instead."""


class BadFact(PushError):
    """A message of the broker cannot be read as a fact."""


class UnknownFactVersion(BadFact):
    """The message is of a newer version of the format than this program knows. The text says what to upgrade."""


class StoreError(PushError):
    """The database could not answer. Base of the errors of ``db``."""

    # What any client may read; the text of the error is for the operator.
    public_text = "the database cannot be reached"


class ConnectionLost(StoreError):
    """A JournalConnection has failed. Its owner opens a new one and calls ``Relay.follow`` again.

    ``reason`` is the cause, for people, where it is not the connection: PostgreSQL has refused the query, say.
    """

    def __init__(self, text: str, reason: str | None = None) -> None:
        super().__init__(text)
        self.reason = reason
