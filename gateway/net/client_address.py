"""Whom we are talking to: the client's address, the server's own origin, and what of it a proxy may tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from settings import Network

__all__ = [
    "FORWARDING_HEADERS",
    "Address",
    "Peer",
    "in_networks",
    "is_loopback_host",
    "parse_address",
    "rate_limit_key",
    "resolve_peer",
]

Address = IPv4Address | IPv6Address

# What proxies say of a request.
FORWARDING_HEADERS = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP")

# More than any address has, in brackets and with zone and port.
MAX_ADDRESS_LENGTH = 100


class Peer:
    """Where a request comes from, as far as it can be believed."""

    __slots__ = ("address", "origin", "via_trusted_proxy", "via_untrusted_proxy")

    def __init__(self, address: Address | None, origin: str, *, via_trusted_proxy: bool, via_untrusted_proxy: bool) -> None:
        # None: neither TCP nor a proxy that we trust says a usable one.
        self.address = address
        # The origin that pages from this server have, as the client sees it.
        self.origin = origin
        # It came by a proxy that we trust.
        self.via_trusted_proxy = via_trusted_proxy
        # It came by a proxy that we know nothing of, which may stand for anybody.
        self.via_untrusted_proxy = via_untrusted_proxy

    @property
    def is_loopback(self) -> bool:
        """Whether it is a program on this machine, for all that we know."""
        return self.address is not None and self.address.is_loopback and not self.via_untrusted_proxy


def resolve_peer(
    remote: str | None, *, secure: bool, host: str, headers: Mapping[str, str], trusted: Sequence[Network]
) -> Peer:
    """``remote``, ``secure``: the TCP peer, and whether TLS ends here. ``host``: the Host header."""
    address = parse_address(remote)
    scheme = "https" if secure else "http"
    chain = [part for part in headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if address is None or not in_networks(address, trusted):
        forwarded = bool(chain) or "Forwarded" in headers or "X-Real-IP" in headers
        return Peer(address, f"{scheme}://{host.lower()}", via_trusted_proxy=False, via_untrusted_proxy=forwarded)
    # Each proxy appends the address that it saw. From the right, the first that is no proxy of ours is the client; what is
    # left of it, the client may have made up.
    while chain and address is not None and in_networks(address, trusted):
        address = parse_address(chain.pop().strip())
    scheme = _last_element(headers.get("X-Forwarded-Proto")) or scheme
    host = _last_element(headers.get("X-Forwarded-Host")) or host
    return Peer(address, f"{scheme}://{host}".lower(), via_trusted_proxy=True, via_untrusted_proxy=False)


def in_networks(address: Address, networks: Sequence[Network]) -> bool:
    """Whether it lies in one of the networks."""
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def rate_limit_key(address: Address | None) -> str:
    """Under what an address is limited: somebody with IPv6 has a whole /64 (RFC 6177), so that counts as one."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)


def is_loopback_host(host: str) -> bool:
    """Whether a Host header names this machine. Another name that leads here is a page that rebinds its own (DNS rebinding).

    No header is no name: browsers always send one, others need none in HTTP/1.0.
    """
    if not host:
        return True
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name.lower() in ("localhost", "localhost."):
        return True
    address = parse_address(name.strip("[]"))
    return address is not None and address.is_loopback


def parse_address(text: str | None) -> Address | None:
    """What the text names; None when that is none."""
    return _parse_address_cached(text.strip()) if text and len(text) <= MAX_ADDRESS_LENGTH else None


@lru_cache(maxsize=4096)
def _parse_address_cached(text: str) -> Address | None:
    """IPv4 in its IPv6 clothes, with a zone or, from some proxies, with a port, is still that address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _last_element(value: str | None) -> str:
    return (value or "").rpartition(",")[2].strip()
