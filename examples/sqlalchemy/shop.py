"""The models of a shop with SQLAlchemy. Nothing here is for Orderwire: it follows the tables."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import DateTime, Enum, ForeignKey, Numeric, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """The metadata of all tables."""


class State(enum.Enum):
    """What SQLAlchemy stores is the name: NEW, PAID, CANCELLED."""

    NEW = "new"
    PAID = "paid"
    CANCELLED = "cancelled"


class Customer(Base):
    """Who orders."""

    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))


class Order(Base):
    """The table that is attached."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    customer: Mapped[Customer] = relationship()
    amount: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    state: Mapped[State] = mapped_column(Enum(State), default=State.NEW)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
