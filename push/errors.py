"""Errors of this package that others catch.

PushError
├── BadCursor             a client sent a text that is not a cursor
├── TooManyExports        as many exports as are allowed at a time are running
├── TooManySearches       a search has waited too long for others
├── AccessDenied          a client is rejected (push/protocol/access.py)
└── StoreError            the database could not answer
    └── ConnectionLost    the connection that the relay follows is lost
"""

__all__ = ["BadCursor", "ConnectionLost", "PushError", "StoreError", "TooManyExports", "TooManySearches"]


class PushError(Exception):
    """Base of all errors of this package. The text is one line for people."""


class BadCursor(PushError):
    """A client sent a text that is not a cursor."""


class TooManyExports(PushError):
    """As many exports of orders as are allowed at a time are running."""


class TooManySearches(PushError):
    """A search that no index answers has waited too long for others of its kind."""


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
