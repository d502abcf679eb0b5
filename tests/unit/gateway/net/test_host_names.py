"""gateway.net.host_names: the host names that are answered where there is no login."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given

from gateway.net.host_names import AllowedHosts, names_of_this_machine
from tests.helpers.strategies import ANY_TEXT


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *((host, True) for host in ("", "localhost", "LocalHost:8000", "localhost.", "localhost.:8000")),
        *((host, True) for host in ("127.0.0.1", "127.0.0.1:8000", "192.168.0.1", "203.0.113.5:65535", "0.0.0.0")),
        *((host, True) for host in ("[::1]", "[::1]:8000", "[2001:DB8::1]:80", "[::ffff:127.0.0.1]")),
        *((host, True) for host in ("shop.example", "SHOP.example.:443", "a.b.internal.example", "origin.example:8000")),
        *((host, False) for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "xshop.example")),
        *((host, False) for host in ("internal.example", "shop.example..", "..", ".", "hub", "app.example")),
        # An address must be one for everybody: programs differ in how they take these apart.
        *((host, False) for host in ("127.1", "2130706433", "0x7f.0.0.1", "127.0.0.01", "::1", "[::1", "[::1]evil", "[evil]")),
        *(
            (host, False)
            for host in ("localhost:", "localhost:x", "localhost:65536", "localhost:-1", "localhost:\u0661", ":80")
        ),
        *(
            (host, False)
            for host in ("[fe80::1%eth0]", "127.0.0.1%evil.example", "localhost@evil.example", "localhost/", "a b")
        ),
    ],
)
def test_hosts_that_are_allowed(host: str, allowed: bool) -> None:
    hosts = AllowedHosts(
        {"shop.example", ".internal.example"}, {"https://origin.example", "app://app.example", "capacitor://hub"}
    )
    assert hosts.allows(host) == allowed


@given(ANY_TEXT)
def test_any_host_may_be_allowed(host: str) -> None:
    assert AllowedHosts({"*"}).allows(host)
    assert AllowedHosts(()).allows(host) in (True, False)


def test_names_of_this_machine_are_its_host_name_and_what_the_hosts_file_has_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Till-3")
    hosts = tmp_path / "hosts"
    assert names_of_this_machine(hosts) == {"localhost", "till-3"}
    hosts.write_text(
        "127.0.0.1 localhost\n127.0.1.1\tTill-3.shop.example  till-3 # evil.example till-3\n"
        "127.0.0.1 ads.example\n# 10.0.0.1 till-3 old.example\n\n"
    )
    # A list against advertisements sends hosts of others to this machine.
    assert names_of_this_machine(hosts) == {"localhost", "till-3", "till-3.shop.example"}


def test_this_machine_may_be_asked_for_by_its_host_name() -> None:
    assert AllowedHosts(()).allows(socket.gethostname())
