"""Changes by Prisma's client are announced. `npm ci --ignore-scripts && npm run generate` comes first."""

from __future__ import annotations

import os
import subprocess
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from orderwire.testing import Orders

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def orderwire_schema(orderwire_database_url: str) -> None:
    """Create the application's tables, as `prisma migrate deploy` does."""
    with psycopg.connect(orderwire_database_url) as db:
        for migration in sorted((HERE / "migrations").glob("*/migration.sql")):
            db.execute(migration.read_text(encoding="utf-8").encode())


def test_prisma_is_announced(orders: Orders, orderwire_database_url: str) -> None:
    environment = {**os.environ, "DATABASE_URL": orderwire_database_url}
    done = subprocess.run(["node", "shop.js"], cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    key = done.stdout.strip()
    event = orders.wait_for_event(type="new_order", order=key)
    assert (event.customer_name, event.total, event.status) == ("Anna", Decimal("12.50"), "PENDING")
    orders.wait_for_event(type="order_status_update", order=key, status="PAID")
