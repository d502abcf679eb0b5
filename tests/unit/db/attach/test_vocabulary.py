"""db/attach/vocabulary.py: what statuses and table names mean."""

from __future__ import annotations

import pytest

from db.attach.vocabulary import is_cancelled, is_cart, is_pending, lifecycle_rank, table_name_score


@pytest.mark.parametrize(
    "status", ["cancelled", "CANCELED", "Cancelled", "canceled_by_user", "order_cancelled", "storniert", "отменен", "zwrócone"]
)
def test_cancelled(status: str) -> None:
    assert is_cancelled(status)
    assert not is_pending(status)


@pytest.mark.parametrize(
    "status", ["pending", "NEW", "UNFULFILLED", "payment_pending", "PaymentAuthorized", "offen", "nowe", "Złożone", "przyjęte"]
)
def test_pending(status: str) -> None:
    assert is_pending(status)
    assert not is_cancelled(status)


@pytest.mark.parametrize("status", ["delivered", "partially_refunded", "partially_cancelled", "not_cancelled", "odd", ""])
def test_neither(status: str) -> None:
    assert not is_cancelled(status)
    assert not is_pending(status)


def test_cart() -> None:
    assert is_cart("DRAFT")
    assert is_cart("AddingItems")
    assert not is_cart("sent")
    assert is_cart("sent", ["draft", "sent", "sale"])
    assert not is_cart("delivery", ["delivery", "new"])
    assert is_cart("delivery", ["cart", "delivery"])


def test_statuses_rank_as_an_order_lives() -> None:
    life = ["new", "confirmed", "paid", "processing", "ready", "shipped", "delivered", "cancelled"]
    ranks = [lifecycle_rank(status) for status in life]
    assert ranks == sorted(set(ranks))
    assert lifecycle_rank("odd") > lifecycle_rank("cancelled")


def test_names_of_tables() -> None:
    scores = [table_name_score(name) for name in ("orders", "spree_orders", "order_book", "customers", "order_items")]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
    assert table_name_score("Zamówienie") == table_name_score("Aufträge") == 50
    assert table_name_score("Order") == table_name_score("zamowienia") == 50
