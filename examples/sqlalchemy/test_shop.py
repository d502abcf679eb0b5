"""Changes by SQLAlchemy's session are announced, with the customer's name."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from shop import Base, Customer, Order, State
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from orderwire.testing import Orders


@pytest.fixture(scope="session")
def engine(orderwire_database_url: str) -> Iterator[Engine]:
    """The application's engine, with psycopg."""
    engine = create_engine(orderwire_database_url.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def orderwire_schema(engine: Engine) -> None:
    """Create the application's tables."""
    Base.metadata.create_all(engine)


def test_a_session_that_commits_is_announced(orders: Orders, engine: Engine) -> None:
    with Session(engine) as session:
        order = Order(customer=Customer(name="Anna"), amount=Decimal("12.50"))
        session.add(order)
        session.commit()
        event = orders.wait_for_event(type="new_order", order=order.id)
        assert (event.customer_name, event.total, event.status) == ("Anna", Decimal("12.50"), "NEW")
        order.state = State.PAID
        session.commit()
        orders.wait_for_event(type="order_status_update", order=order.id, status="PAID")
        session.delete(order)
        session.commit()
        orders.wait_for_event(type="order_delete", order=order.id)


def test_a_session_that_rolls_back_is_not(orders: Orders, engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Order(customer=Customer(name="Bo"), amount=Decimal(5)))
        session.flush()
        session.rollback()
        session.add(Order(customer=Customer(name="Cy"), amount=Decimal(6)))
        session.commit()
    orders.wait_for_event(type="new_order", customer_name="Cy")
    assert len(orders.events) == 1
