"""The pytest plugin: an Orderwire server for an application's own tests, and the fixture ``orders`` to wait for events.

It runs the server of a checkout in a process of its own (``ORDERWIRE_HOME``, ``--orderwire-home`` or the setting
``orderwire_home``), so the application needs none of the server's packages. pytest loads this module in every run; what it
needs is imported by the fixtures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from orderwire.testing import Orders, OrderwireServer

__all__ = ["orders", "orderwire_database_url", "orderwire_home", "orderwire_map", "orderwire_schema", "orderwire_server"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's settings."""
    parser.getgroup("orderwire").addoption("--orderwire-home", help="the checkout of Orderwire whose server the tests use")
    parser.addini("orderwire_home", "the checkout of Orderwire, relative to this file")
    parser.addini("orderwire_map", "the map of the application's table of orders, relative to this file")
    parser.addini("orderwire_timeout", "how many seconds to wait for an event", default="5")


@pytest.fixture(scope="session")
def orderwire_home(pytestconfig: pytest.Config) -> Path:
    """The checkout of Orderwire."""
    given = pytestconfig.getoption("orderwire_home") or os.environ.get("ORDERWIRE_HOME")
    home = Path(given) if given else pytestconfig.rootpath / (pytestconfig.getini("orderwire_home") or "")
    if not (home / "server.py").is_file():
        pytest.fail(f"there is no Orderwire in {home}: set ORDERWIRE_HOME to its checkout", pytrace=False)
    return home.resolve()


@pytest.fixture(scope="session")
def orderwire_database_url(orderwire_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The database of the tests: DATABASE_URL, or else a new PostgreSQL that is removed after the run."""
    from orderwire.testing import embedded_postgres

    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    with embedded_postgres(orderwire_home, tmp_path_factory.mktemp("orderwire") / "postgres") as url:
        yield url


@pytest.fixture(scope="session")
def orderwire_schema(orderwire_database_url: str) -> None:
    """Override this: create the application's tables, before the table of orders is attached."""


@pytest.fixture(scope="session")
def orderwire_map(pytestconfig: pytest.Config) -> Path:
    """The map of the table of orders, as ``python server.py attach TABLE`` prints one."""
    name = pytestconfig.getini("orderwire_map")
    if not name:
        pytest.fail("set orderwire_map in the configuration of pytest: the map of the table of orders", pytrace=False)
    return pytestconfig.rootpath / str(name)


@pytest.fixture(scope="session")
def orderwire_server(
    orderwire_home: Path, orderwire_database_url: str, orderwire_schema: None, orderwire_map: Path
) -> Iterator[OrderwireServer]:
    """A server that follows the application's table of orders."""
    from orderwire.testing import OrderwireServer, ServerFailed

    try:
        server = OrderwireServer.start(orderwire_home, orderwire_database_url, orderwire_map)
    except ServerFailed as error:
        pytest.fail(str(error), pytrace=False)
    yield server
    server.stop()


@pytest.fixture
def orders(orderwire_server: OrderwireServer, pytestconfig: pytest.Config) -> Iterator[Orders]:
    """The events from here on: ``await orders.event(type="new_order", order=7)``."""
    from orderwire.testing import Orders

    with Orders(orderwire_server, float(pytestconfig.getini("orderwire_timeout"))) as following:
        yield following
