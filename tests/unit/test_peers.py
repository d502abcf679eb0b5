"""Whom we are talking to."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from gateway.net.client_address import Peer, is_loopback_host, rate_limit_key, resolve_peer

PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1"))


def peer(remote: str | None, secure: str = "", **headers: str) -> Peer:
    sent = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return resolve_peer(remote, secure=bool(secure), host="Shop.example:8000", headers=sent, trusted=PROXIES)


@pytest.mark.parametrize(
    ("remote", "forwarded_for", "address"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # not from a proxy of ours: made up
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),  # what the client itself claimed is left of it
        ("::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),  # nobody but proxies: the outermost
        ("10.0.0.1", "unknown", None),
        ("10.0.0.1", "", "10.0.0.1"),
        (None, "198.51.100.1", None),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy_of_ours(
    remote: str | None, forwarded_for: str, address: str | None
) -> None:
    found = peer(remote, x_forwarded_for=forwarded_for).address
    assert found == (None if address is None else ip_address(address))


def test_the_servers_own_origin() -> None:
    assert peer("203.0.113.9").origin == "http://shop.example:8000"
    assert peer("203.0.113.9", secure="yes").origin == "https://shop.example:8000"
    outer = {"x_forwarded_proto": "https", "x_forwarded_host": "www.shop.example"}
    assert peer("203.0.113.9", **outer).origin == "http://shop.example:8000"
    assert peer("10.0.0.1", **outer).origin == "https://www.shop.example"
    assert peer("10.0.0.1", x_forwarded_proto="http, https").origin == "https://shop.example:8000"


def test_loopback_is_this_machine_only_without_a_strange_proxy() -> None:
    assert peer("127.0.0.1").is_loopback
    assert resolve_peer("::1", secure=False, host="", headers={}, trusted=()).is_loopback
    assert not peer("203.0.113.9").is_loopback
    assert not peer("127.0.0.1", x_forwarded_for="127.0.0.1").is_loopback
    assert not peer("127.0.0.1", forwarded="for=127.0.0.1").is_loopback
    assert not peer("::1", x_forwarded_for="198.51.100.1").is_loopback
    assert not peer(None).is_loopback


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:8000", False),
        ("192.168.0.1", False),
        ("[2001:db8::1]:80", False),
    ],
)
def test_names_of_this_machine(host: str, is_loopback: bool) -> None:
    assert is_loopback_host(host) == is_loopback


def test_ipv6_is_limited_by_network() -> None:
    assert rate_limit_key(ip_address("2001:db8:1:2:3::4")) == rate_limit_key(ip_address("2001:db8:1:2:9::9"))
    assert rate_limit_key(ip_address("2001:db8:1:2::1")) != rate_limit_key(ip_address("2001:db8:1:3::1"))
    assert rate_limit_key(ip_address("192.0.2.1")) != rate_limit_key(ip_address("192.0.2.2"))
