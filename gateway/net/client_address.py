"""The client's address and the server's own origin, from the TCP peer and the headers of trusted proxies. No I/O."""

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

# Request headers that proxies add.
FORWARDING_HEADERS = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP")

# Longer than any address with brackets, zone and port.
MAX_ADDRESS_LENGTH = 100


class Peer:
    """Where a request comes from, as far as that is trusted."""

    __slots__ = ("address", "origin", "via_trusted_proxy", "via_untrusted_proxy")

    def __init__(self, address: Address | None, origin: str, *, via_trusted_proxy: bool, via_untrusted_proxy: bool) -> None:
        # None if neither the TCP peer nor a trusted proxy names a valid one.
        self.address = address
        # The origin of this server as the client sees it (RFC 6454).
        self.origin = origin
        # The TCP peer is a proxy in TRUSTED_PROXIES.
        self.via_trusted_proxy = via_trusted_proxy
        # The TCP peer is another proxy, according to its headers: the real client is unknown.
        self.via_untrusted_proxy = via_untrusted_proxy

    @property
    def is_loopback(self) -> bool:
        """Whether the client runs on this machine; False behind an untrusted proxy."""
        return self.address is not None and self.address.is_loopback and not self.via_untrusted_proxy


def resolve_peer(
    remote: str | None, *, secure: bool, host: str, headers: Mapping[str, str], trusted: Sequence[Network]
) -> Peer:
    """``remote``: address of the TCP peer. ``secure``: TLS is terminated here. ``host``: the Host header."""
    address = parse_address(remote)
    scheme = "https" if secure else "http"
    chain = [part for part in headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if address is None or not in_networks(address, trusted):
        forwarded = bool(chain) or "Forwarded" in headers or "X-Real-IP" in headers
        return Peer(address, f"{scheme}://{host.lower()}", via_trusted_proxy=False, via_untrusted_proxy=forwarded)
    # Each proxy appends the address of its peer. Read from the right, the first address that is not a trusted proxy is the
    # client; the client itself may have sent what is left of it.
    while chain and address is not None and in_networks(address, trusted):
        address = parse_address(chain.pop().strip())
    scheme = _last_element(headers.get("X-Forwarded-Proto")) or scheme
    host = _last_element(headers.get("X-Forwarded-Host")) or host
    return Peer(address, f"{scheme}://{host}".lower(), via_trusted_proxy=True, via_untrusted_proxy=False)


def in_networks(address: Address, networks: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks."""
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def rate_limit_key(address: Address | None) -> str:
    """The key under which limits count an address. One customer has a whole IPv6 /64 (RFC 6177), so that is one key."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)


def is_loopback_host(host: str) -> bool:
    """Whether a Host header names this machine. Any other name that resolves to it may be a page that uses DNS rebinding.

    An empty host counts as this machine: browsers always send the header, HTTP/1.0 clients need not.
    """
    if not host:
        return True
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name.lower() in ("localhost", "localhost."):
        return True
    address = parse_address(name.strip("[]"))
    return address is not None and address.is_loopback


def parse_address(text: str | None) -> Address | None:
    """Parse an IP address; None if the text is not one."""
    return _parse_address_cached(text.strip()) if text and len(text) <= MAX_ADDRESS_LENGTH else None


@lru_cache(maxsize=4096)
def _parse_address_cached(text: str) -> Address | None:
    """Ignores a zone and a port, which some proxies add. An IPv4-mapped IPv6 address becomes IPv4."""
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
