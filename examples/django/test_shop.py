"""Changes by Django's models are announced.

With pytest-django, such tests need ``@pytest.mark.django_db(transaction=True)``: other tests of Django roll back what they do,
and what is not committed is no event.
"""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

import pytest

from orderwire.testing import Orders


@pytest.fixture(scope="session")
def orderwire_schema(orderwire_database_url: str) -> None:
    """Create the application's tables."""
    os.environ["DATABASE_URL"] = orderwire_database_url
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)


@pytest.fixture
def shop(orderwire_server: object) -> Any:
    """The models, which can be imported once Django is set up."""
    from shop import models

    return models


def test_a_saved_model_is_announced(orders: Orders, shop: Any) -> None:
    order = shop.Order.objects.create(customer=shop.Customer.objects.create(name="Anna"), total=Decimal("12.50"))
    event = orders.wait_for_event(type="new_order", order=order.pk)
    assert (event.customer_name, event.total, event.status) == ("Anna", Decimal("12.50"), "new")
    order.status = shop.Order.Status.PAID
    order.save()
    orders.wait_for_event(type="order_status_update", order=order.pk, status="paid", previous_status="new")


def test_an_update_of_many_is_an_event_for_each(orders: Orders, shop: Any) -> None:
    customer = shop.Customer.objects.create(name="Bo")
    made = shop.Order.objects.bulk_create([shop.Order(customer=customer, total=n) for n in range(3)])
    shop.Order.objects.filter(customer=customer).update(status="cancelled")
    for order in made:
        orders.wait_for_event(type="order_status_update", order=order.pk, status="cancelled")


def test_a_transaction_is_announced_when_it_is_committed(orders: Orders, shop: Any) -> None:
    from django.db import transaction

    customer = shop.Customer.objects.create(name="Cy")
    with transaction.atomic():
        shop.Order.objects.create(customer=customer, total=1)
        transaction.set_rollback(True)
    with transaction.atomic():
        order = shop.Order.objects.create(customer=customer, total=2)
    orders.wait_for_event(type="new_order", order=order.pk)
    assert len(orders.events) == 1
