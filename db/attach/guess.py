"""A guessed map: the value of each member, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from db.attach.facts import Table

__all__ = ["Choice", "Guess"]

# The members of a map in the order in which a file lists them.
MEMBERS = (
    "key",
    "key_is_unique",
    "number",
    "customer_name",
    "joins",
    "customer_id",
    "total",
    "currency",
    "total_currency",
    "status",
    "pending",
    "cancelled",
    "statuses",
    "created_at",
    "where",
    "order_key",
    "data",
    "payload",
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The value of one member of a map, and why. ``is_sure`` is false where a person should check it."""

    value: Any
    reason: str
    is_sure: bool = True


@dataclass(slots=True)
class Guess:
    """A guessed map. ``notes`` say what could not be guessed."""

    table: Table
    choices: dict[str, Choice] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # How much the table looks like one of orders.
    score: int = 0
    # The shop system that the columns are those of.
    system: str | None = None

    @property
    def map(self) -> dict[str, Any]:
        """The map as ``orderwire.attach`` takes it."""
        return {member: self.choices[member].value for member in MEMBERS if member in self.choices}

    @property
    def summary(self) -> str:
        """One line: the columns that were found."""
        shown = ("key", "number", "customer_name", "total", "currency", "status", "created_at")
        found = []
        for member in shown:
            if member in self.choices:
                value = self.choices[member].value
                text = ",".join(value) if isinstance(value, list) else value
                found.append(f"{member}={text if len(text) <= 40 else text[:39] + '…'}")
        return " ".join(found)
