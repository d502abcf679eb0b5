"""gateway.net.client_address: the client's address behind proxies, the server's origin, and loopback host names."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.net.client_address import FORWARDING_HEADERS, Peer, is_loopback_host, rate_limit_key, resolve_peer
from tests.helpers.strategies import ANY_TEXT

ADDRESSES = st.ip_addresses().map(str) | ANY_TEXT
PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1"))


def make_peer(remote: str | None, secure: str = "", **headers: str) -> Peer:
    sent = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return resolve_peer(remote, secure=bool(secure), host="Shop.example:8000", headers=sent, trusted=PROXIES)


@pytest.mark.parametrize(
    ("remote", "forwarded_for", "address"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # not from a trusted proxy: may be forged
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),  # the address left of it was sent by the client
        ("::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),  # proxies only: the outermost
        ("10.0.0.1", "unknown", None),
        ("10.0.0.1", "", "10.0.0.1"),
        (None, "198.51.100.1", None),
    ],
)
def test_client_is_the_first_address_from_the_right_that_is_no_trusted_proxy(
    remote: str | None, forwarded_for: str, address: str | None
) -> None:
    found = make_peer(remote, x_forwarded_for=forwarded_for).address
    assert found == (None if address is None else ip_address(address))


def test_origin_follows_the_headers_of_trusted_proxies_only() -> None:
    assert make_peer("203.0.113.9").origin == "http://shop.example:8000"
    assert make_peer("203.0.113.9", secure="yes").origin == "https://shop.example:8000"
    outer = {"x_forwarded_proto": "https", "x_forwarded_host": "www.shop.example"}
    assert make_peer("203.0.113.9", **outer).origin == "http://shop.example:8000"
    assert make_peer("10.0.0.1", **outer).origin == "https://www.shop.example"
    assert make_peer("10.0.0.1", x_forwarded_proto="http, https").origin == "https://shop.example:8000"


def test_client_behind_an_untrusted_proxy_is_not_loopback() -> None:
    assert make_peer("127.0.0.1").is_loopback
    assert resolve_peer("::1", secure=False, host="", headers={}, trusted=()).is_loopback
    assert not make_peer("203.0.113.9").is_loopback
    assert not make_peer("127.0.0.1", x_forwarded_for="127.0.0.1").is_loopback
    assert not make_peer("127.0.0.1", forwarded="for=127.0.0.1").is_loopback
    assert not make_peer("::1", x_forwarded_for="198.51.100.1").is_loopback
    assert not make_peer(None).is_loopback


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
def test_loopback_host_names(host: str, is_loopback: bool) -> None:
    assert is_loopback_host(host) == is_loopback


def test_rate_limit_key_of_ipv6_is_its_64_bit_network() -> None:
    assert rate_limit_key(ip_address("2001:db8:1:2:3::4")) == rate_limit_key(ip_address("2001:db8:1:2:9::9"))
    assert rate_limit_key(ip_address("2001:db8:1:2::1")) != rate_limit_key(ip_address("2001:db8:1:3::1"))
    assert rate_limit_key(ip_address("192.0.2.1")) != rate_limit_key(ip_address("192.0.2.2"))


@given(ADDRESSES, st.booleans(), ANY_TEXT, st.dictionaries(st.sampled_from(FORWARDING_HEADERS), ANY_TEXT | ADDRESSES))
def test_arbitrary_headers_resolve_to_a_peer(remote: str, secure: bool, host: str, headers: dict[str, str]) -> None:
    for networks in ((), (ip_network("127.0.0.0/8"), ip_network("::1"))):
        found = resolve_peer(remote, secure=secure, host=host, headers=headers, trusted=networks)
        assert isinstance(rate_limit_key(found.address), str)
        assert not (found.is_loopback and found.via_untrusted_proxy)
    assert is_loopback_host(host) in (True, False)
