"""Errors of the heart.

PushError
├── BadCursor    the text is no cursor
└── StoreError   the database could not answer; its text is one line for people
    └── LinkLost the LISTEN connection is gone; a new one will come
"""

__all__ = ["BadCursor", "ConnectionLost", "PushError", "StoreError"]


class PushError(Exception):
    """Base of all errors of this package."""


class BadCursor(PushError):
    """The text that a client sent is no cursor."""


class StoreError(PushError):
    """The database could not answer."""


class ConnectionLost(StoreError):
    """The connection to the database is gone; whoever owns it opens a new one."""
