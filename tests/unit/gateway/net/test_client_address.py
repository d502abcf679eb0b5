"""gateway.net.client_address: the client's address behind proxies, and the server's origin."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.net.client_address import Peer, is_forwarding_header, parse_address, rate_limit_key, resolve_peer
from tests.helpers.strategies import ANY_TEXT

ADDRESSES = st.ip_addresses().map(str) | ANY_TEXT
HEADERS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded")
PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1"))


def make_peer(remote: str | None, secure: str = "", version: str = "1.1", **headers: str) -> Peer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return resolve_peer(
        remote,
        secure=bool(secure),
        host="Shop.example:8000",
        forwarding=sent,
        trusted=PROXIES,
        may_be_forwarded=version == "1.0",
    )


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


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("https", "Shop.example:443", "https://shop.example"),
        ("HTTP", "shop.example:80", "http://shop.example"),
        ("https", "shop.example:80", "https://shop.example:80"),
        ("https", "shop.example:8443", "https://shop.example:8443"),
        ("http", "[::1]:80", "http://[::1]"),
    ],
)
def test_the_origin_has_no_default_port(scheme: str, host: str, origin: str) -> None:
    """Browsers leave it out; nginx adds it with ``$host:$server_port``."""
    assert make_peer("10.0.0.1", x_forwarded_proto=scheme, x_forwarded_host=host).origin == origin


def test_client_behind_an_untrusted_proxy_is_not_loopback() -> None:
    assert make_peer("127.0.0.1").is_loopback
    assert resolve_peer("::1", secure=False, host="", forwarding={}, trusted=()).is_loopback
    assert not make_peer("203.0.113.9").is_loopback
    assert not make_peer("127.0.0.1", x_forwarded_for="127.0.0.1").is_loopback
    assert not make_peer("127.0.0.1", forwarded="for=127.0.0.1").is_loopback
    assert not make_peer("127.0.0.1", via="").is_loopback
    assert not make_peer("127.0.0.1", version="1.0").is_loopback
    assert not make_peer("::1", x_forwarded_for="198.51.100.1").is_loopback
    assert not make_peer(None).is_loopback


@pytest.mark.parametrize(
    ("forwarded_for", "is_loopback"), [(None, False), ("", False), ("x", False), ("::1", True), ("::2", False)]
)
def test_client_behind_a_trusted_proxy_is_loopback_only_by_an_address(forwarded_for: str | None, is_loopback: bool) -> None:
    headers = {} if forwarded_for is None else {"x_forwarded_for": forwarded_for}
    peer = make_peer("::1", **headers)
    assert peer.is_loopback == is_loopback
    assert peer.via_trusted_proxy
    # Limits count the clients of a proxy that does not tell them apart by the proxy's address.
    assert forwarded_for or peer.address == ip_address("::1")


def test_the_forwarded_host_of_a_trusted_proxy_is_checked_beside_the_host() -> None:
    assert make_peer("203.0.113.9", x_forwarded_host="a.example").hosts == ("Shop.example:8000",)
    assert make_peer("10.0.0.1", x_forwarded_host="a.example, b.example").hosts == ("Shop.example:8000", "b.example")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-forwarded-for")),
        *((name, True) for name in ("x-forwarded-port", "x-forwarded", "x-original-forwarded-for", "cf-ray", "cdn-loop")),
        *((name, False) for name in ("host", "origin", "user-agent", "x-requested-with", "sec-websocket-key", "authorization")),
    ],
)
def test_headers_that_tell_of_a_proxy(name: str, expected: bool) -> None:
    assert is_forwarding_header(name) == expected


@pytest.mark.parametrize(
    ("text", "address"),
    [
        *(("127.0.0.1", "127.0.0.1"), ("127.0.0.1:80", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1"), ("[::1]:80", "::1")),
        *(("fe80::1%eth0", "fe80::1"), ("[fe80::1%eth0]:80", "fe80::1"), ("::ffff:10.0.0.1", "10.0.0.1"), (" ::1 ", "::1")),
        *(("127.0.0.1:x", None), ("127.0.0.1:", None), ("127.0.0.1%1", None), ("[::1]x", None), ("[::1", None), ("::1%", None)),
        *(("127.1", None), ("localhost", None), ("", None), (None, None), ("1" * 101, None), ("\u0661.0.0.1", None)),
    ],
)
def test_only_a_whole_address_is_parsed(text: str | None, address: str | None) -> None:
    assert parse_address(text) == (None if address is None else ip_address(address))


def test_rate_limit_key_of_ipv6_is_its_64_bit_network() -> None:
    assert rate_limit_key(ip_address("2001:db8:1:2:3::4")) == rate_limit_key(ip_address("2001:db8:1:2:9::9"))
    assert rate_limit_key(ip_address("2001:db8:1:2::1")) != rate_limit_key(ip_address("2001:db8:1:3::1"))
    assert rate_limit_key(ip_address("192.0.2.1")) != rate_limit_key(ip_address("192.0.2.2"))


@given(ADDRESSES, st.booleans(), ANY_TEXT, st.dictionaries(st.sampled_from(HEADERS), ANY_TEXT | ADDRESSES))
def test_arbitrary_headers_resolve_to_a_peer(remote: str, secure: bool, host: str, headers: dict[str, str]) -> None:
    for networks in ((), (ip_network("127.0.0.0/8"), ip_network("::1"))):
        found = resolve_peer(remote, secure=secure, host=host, forwarding=headers, trusted=networks)
        assert isinstance(rate_limit_key(found.address), str)
        assert not (found.is_loopback and found.via_untrusted_proxy)
