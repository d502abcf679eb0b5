"""The models of a shop with Django. Nothing here is for Orderwire: it follows the tables."""

from django.db import models


class Customer(models.Model):
    """Who orders."""

    name = models.CharField(max_length=200)


class Order(models.Model):
    """The table that is attached: shop_order."""

    class Status(models.TextChoices):
        """What is stored is the first text of each."""

        NEW = "new", "New"
        PAID = "paid", "Paid"
        CANCELLED = "cancelled", "Cancelled"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT)
    total = models.DecimalField(max_digits=12, decimal_places=2)
    status = models.CharField(max_length=20, choices=Status, default=Status.NEW)
    created_at = models.DateTimeField(auto_now_add=True)
